"""Slow references: hashes of images, each computed anew, and pairs of images, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amif_lightning.data.leakage.image_hash import (
    BITS,
    MAX_DISTANCE,
    MIN_CORRELATION,
    PIXELS,
    ImagePair,
    Looks,
    look_at,
    unit,
)


def look(images: Mapping[str, Path]) -> Looks:
    """Read all images."""
    read = {name: look_at(file) for name, file in images.items()}
    found = {name: one for name, one in read.items() if isinstance(one, tuple)}
    return Looks(
        names=tuple(found),
        hashes=np.array([bits for bits, _ in found.values()], dtype=bool).reshape(-1, BITS),
        pixels=np.array([p for _, p in found.values()], dtype=np.uint8).reshape(-1, PIXELS),
        damaged={name: one for name, one in read.items() if isinstance(one, str)},
    )


def distances(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of differing bits (N, M) between hashes (N, 255) and (M, 255)."""
    return np.array([[(a != b).sum() for b in second] for a in first], dtype=np.int64)


def content_pairs(
    first: Looks,
    second: Looks,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> list[ImagePair]:
    """Near-duplicates by a table of all pairs."""
    found = []
    apart = distances(first.hashes, second.hashes)
    for row, column in np.argwhere(apart <= max_distance):
        copies = unit(np.stack([first.pixels[row], second.pixels[column]]))
        correlation = float(copies[0] @ copies[1])
        if correlation >= min_correlation:
            names = first.names[row], second.names[column]
            found.append(ImagePair(*names, int(apart[row, column]), correlation))
    return found


def generated(count: int, seed: int, source: Looks | None = None, copies: int = 0) -> Looks:
    """Random hashes and squares; the first ``copies`` are those of ``source``, slightly changed."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, (count, (BITS + 7) // 8), dtype=np.uint8)
    looks = Looks(
        names=tuple(f"{seed}/{number}" for number in range(count)),
        hashes=np.unpackbits(bits, axis=1, count=BITS).view(np.bool_),
        pixels=rng.integers(0, 256, (count, PIXELS), dtype=np.uint8),
        damaged={},
    )
    if source is not None:
        for place in range(copies):
            other = place * 37 % len(source.names)
            looks.hashes[place] = source.hashes[other]
            looks.hashes[place, rng.permutation(BITS)[: place % 60]] ^= True
            looks.pixels[place] = source.pixels[other] ^ (rng.random(PIXELS) < 0.3) * 32 * (
                place % 7
            )
    return looks
