"""Find images that two sets share, by file name and by content.

Data sets take images from the same archives, but with other sizes, formats or names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
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
_BLOCK = 1024  # images compared with all others at a time
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

    def only(self, names: Collection[str]) -> Looks:
        """Return the images among ``names``."""
        places = [place for place, name in enumerate(self.names) if name in names]
        kept = tuple(self.names[place] for place in places)
        return Looks(kept, self.hashes[places], self.pixels[places], {})


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


def distances(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of differing bits (N, M) between hashes (N, 255) and (M, 255)."""
    one, other = first.astype(np.float32), second.astype(np.float32)
    same = one @ other.T + (1 - one) @ (1 - other).T  # whole numbers below 2^24: exact
    return BITS - same.astype(np.int64)


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
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> list[ImagePair]:
    """Find near-duplicates between two sets of images, in the order of the sets.

    Hashes alone confuse similar kinds of images, such as chest films, so the small copies of
    matches are correlated too.
    """
    found = []
    # In blocks: two corpora have more pairs than fit into memory.
    for start in range(0, len(first.names), _BLOCK):
        apart = distances(first.hashes[start : start + _BLOCK], second.hashes)
        for row, column in np.argwhere(apart <= max_distance):
            copies = unit(np.stack([first.pixels[start + row], second.pixels[column]]))
            correlation = float(copies[0] @ copies[1])
            if correlation >= min_correlation:
                one, other = first.names[start + row], second.names[column]
                found.append(ImagePair(one, other, int(apart[row, column]), correlation))
    return found
