"""Find images that two sets share, by file name and by content.

Data sets take images from the same archives, but with other sizes, formats or names.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amif_lightning.data.preprocessing.images import MAX_PIXELS, decode_image
from amif_lightning.errors import UserError

_SIDE = 64  # side of the transformed square in pixels
_WAVES = 16  # the lowest frequencies of each direction
BITS = _WAVES * _WAVES - 1
_COPY = 32  # side of the small copies in pixels
PIXELS = _COPY * _COPY
_BLOCK, _TILE = 16, 2048  # pairs compared at a time, which fit into a core's cache
#: Two images are near-duplicates if their hashes differ in at most MAX_DISTANCE bits (chance: 127)
#: and their small copies correlate at MIN_CORRELATION or more. The 38 images of equal name in
#: VQA-RAD and VQA-Med-2019 differ in at most 28 bits and correlate at 0.975 or more. The wider
#: limits also find neighbouring slices of one patient, which must not be trained on either (see the
#: test marked real_data).
MAX_DISTANCE, MIN_CORRELATION = 40, 0.9


@dataclass(frozen=True)
class Looks:
    """Perceptual hashes and small copies of N images."""

    names: tuple[str, ...]
    hashes: NDArray[np.bool_]  # (N, 255)
    pixels: NDArray[np.uint8]  # (N, 1024), grey squares of 32 pixels
    damaged: Mapping[str, str]  # other images, each with a sentence on the fault


Look = Callable[[Mapping[str, Path]], Looks]  # such as ``HashStore.look``


class ImagePair(NamedTuple):
    """Names of two near-duplicates, differing bits of their hashes, correlation of their copies."""

    first: str
    second: str
    bits: int  # 0 to 255
    correlation: float  # -1 to 1


@cache
def _cosines() -> NDArray[np.float64]:
    place = np.arange(_SIDE) + 0.5
    waves: NDArray[np.float64] = np.cos(np.pi / _SIDE * np.outer(np.arange(_WAVES), place))
    return waves


def unit(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return grey values (..., 1024) minus their mean, divided by their norm.

    The product of two results is their correlation, 0 for an image of a single shade.
    """
    values = pixels.astype(np.float64)
    values -= values.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    copies: NDArray[np.float64] = values / np.maximum(norm, 1e-9)
    return copies


def look_at(
    path: Path, max_pixels: int = MAX_PIXELS
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]] | str:
    """Return an image's hash (255,) and grey square (1024,), or a sentence on the fault.

    A bit is set if its coefficient exceeds the median of the lowest 16 x 16 cosine frequencies,
    mean excluded, of a grey square of 64 pixels.
    """
    try:
        grey = decode_image(path, _SIDE, max_pixels).convert("L")
    except UserError as error:
        return str(error)
    square = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64)
    waves = _cosines()
    found = (waves @ square @ waves.T).ravel()[1:]
    copy = np.asarray(grey.resize((_COPY, _COPY), Image.Resampling.BOX), dtype=np.uint8)
    return found > np.median(found), copy.ravel()


def distinctive_names(paths: Iterable[str]) -> dict[str, str]:
    """Return the lower-case file stems that occur once, by path.

    A stem that several images of a split share, such as SLAKE's ``source``, identifies no image.
    """
    names = {path: PurePosixPath(path).stem.lower() for path in paths}
    seen = Counter(names.values())
    return {path: name for path, name in names.items() if seen[name] == 1}


def name_pairs(images: Iterable[str], held_out: Iterable[Iterable[str]]) -> list[tuple[str, str]]:
    """Return sorted pairs of training and held-out paths with equal distinctive names.

    Paths are relative to their data set; ``held_out`` lists them by split.
    """
    others: dict[str, set[str]] = defaultdict(set)
    for split in held_out:
        for path, name in distinctive_names(split).items():
            others[name].add(path)
    return sorted(
        (path, other)
        for path, name in distinctive_names(images).items()
        for other in others.get(name, ())
    )


def content_pairs(
    first: Looks,
    second: Looks,
    trained: Collection[str] | None = None,
    held_out: Collection[str] | None = None,
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> list[ImagePair]:
    """Find near-duplicates between two sets of images, in the order of the sets.

    ``trained`` and ``held_out`` name the compared images of each set (None: all). Hashes alone
    confuse similar kinds of images, such as chest films, so the small copies of matches are
    correlated too.
    """
    (rows, one), (columns, other) = _words(first, trained), _words(second, held_out)

    def block(start: int) -> list[ImagePair]:
        found = []
        for row, column, bits in _near(one[:, start : start + _BLOCK], other, max_distance):
            mine, theirs = rows[start + row], columns[column]
            copies = unit(np.stack([first.pixels[mine], second.pixels[theirs]]))
            correlation = float(copies[0] @ copies[1])
            if correlation >= min_correlation:
                names = first.names[mine], second.names[theirs]
                found.append(ImagePair(*names, bits, correlation))
        return found

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        blocks = pool.map(block, range(0, len(rows), _BLOCK))
        return [pair for found in blocks for pair in found]


def _words(
    looks: Looks, names: Collection[str] | None
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the places (n,) of the named images, and their hashes as words (4, n) of 64 bits."""
    chosen = [names is None or name in names for name in looks.names]
    places = np.flatnonzero(chosen)
    packed = np.zeros((len(places), 32), np.uint8)
    # In parts: an index copies the hashes.
    for start in range(0, len(places), 2**16):
        part = slice(start, start + 2**16)
        packed[part] = np.packbits(looks.hashes[places[part]], axis=1)
    return places, np.ascontiguousarray(packed.view(np.uint64).T)


def _near(
    one: NDArray[np.uint64], other: NDArray[np.uint64], max_distance: int
) -> Iterator[tuple[int, int, int]]:
    """Yield row, column and differing bits of the near hashes among words (4, n) and (4, m)."""
    places, distances = [], []
    for start in range(0, other.shape[1], _TILE):
        tile = other[:, start : start + _TILE]
        # The union of the words has at most as many bits as all words, at a quarter of the cost.
        union = one[0][:, None] ^ tile[0]
        other_word = np.empty_like(union)
        for mine, theirs in zip(one[1:], tile[1:], strict=True):
            union |= np.bitwise_xor(mine[:, None], theirs, out=other_word)
        bound = np.bitwise_count(union)
        if bound.min() > max_distance:
            continue
        rows, columns = np.nonzero(bound <= max_distance)
        bits = np.bitwise_count(one[:, rows] ^ tile[:, columns]).sum(0, dtype=np.int64)
        near = bits <= max_distance
        places.append(np.stack([rows[near], columns[near] + start]))
        distances.append(bits[near])
    found = np.concatenate([np.empty((2, 0), np.int64), *places], axis=1)
    order = np.argsort(found[0], kind="stable")
    bits = np.concatenate([np.empty(0, np.int64), *distances])
    yield from zip(*found[:, order].tolist(), bits[order].tolist(), strict=True)
