"""Images that two sets have in common, found by file name and by content.

Data sets take images from the same archives, so an image that trains may be one that another
data set scores, in another size or format or under another name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.errors import UserError

_SIDE = 64  # pixels a side of the square that is transformed
_WAVES = 16  # the lowest frequencies of each direction
BITS = _WAVES * _WAVES - 1
_COPY = 32  # pixels a side of the small copies that confirm a hash
PIXELS = _COPY * _COPY
_BLOCK = 1024  # images compared with all others at a time
#: Most bits in which the hashes of the same image differ, where one expects 127 by chance, and
#: the least correlation of its copies. Counted on VQA-RAD and VQA-Med-2019, whose copies differ in
#: size and compression: the 38 images of equal name differ in 28 bits at most and correlate at
#: 0.975 or more. The limits are wider on purpose: what else they let through has neighbouring
#: numbers, slices of one patient, which must not be seen either. See the test marked real_data.
ALIKE, SAME = 40, 0.9


@dataclass(frozen=True)
class Looks:
    """What images look like.

    Attributes:
        names: The N images that could be read.
        hashes: Their perceptual hashes, (N, 255) bool.
        pixels: Their grey squares of 32 pixels, (N, 1024) uint8; the product of two :func:`unit`
            squares is their correlation, and one of a single shade is like no other.
        damaged: The others by name, with the sentence that says what is wrong.
    """

    names: tuple[str, ...]
    hashes: NDArray[np.bool_]
    pixels: NDArray[np.uint8]
    damaged: Mapping[str, str]

    def only(self, names: Collection[str]) -> Looks:
        """What those of the images look like that are among ``names``."""
        places = [place for place, name in enumerate(self.names) if name in names]
        kept = tuple(self.names[place] for place in places)
        return Looks(kept, self.hashes[places], self.pixels[places], {})


#: Computes the hashes of images by name and file, as ``HashStore.look`` does.
Look = Callable[[Mapping[str, Path]], Looks]


@dataclass(frozen=True)
class ImagePair:
    """Two images that look the same.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        bits: Number of bits in which their hashes differ, 0 to 255.
        correlation: Correlation of their small copies, -1 to 1.
    """

    first: str
    second: str
    bits: int
    correlation: float


def _grey(path: Path) -> Image.Image:
    return decode_image(path, _SIDE).convert("L")


def _hash(image: Image.Image) -> NDArray[np.bool_]:
    """The signs of the lowest 16 x 16 frequencies, but for the mean, against their median.

    Frequencies are those of the cosine transform of the image as a grey square of 64 pixels.
    """
    grey = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    waves = _cosines()
    found = (waves @ np.asarray(grey, dtype=np.float64) @ waves.T).ravel()[1:]
    bits: NDArray[np.bool_] = found > np.median(found)
    return bits


@cache
def _cosines() -> NDArray[np.float64]:
    place = np.arange(_SIDE) + 0.5
    waves: NDArray[np.float64] = np.cos(np.pi / _SIDE * np.outer(np.arange(_WAVES), place))
    return waves


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    grey = image.resize((_COPY, _COPY), Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.uint8).ravel()


def unit(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey values (..., 1024) less their mean, divided by their norm."""
    values = pixels.astype(np.float64)
    values -= values.mean(axis=-1, keepdims=True)
    copies: NDArray[np.float64] = values / np.maximum(
        np.linalg.norm(values, axis=-1, keepdims=True), 1e-9
    )
    return copies


def look_at(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.uint8]] | str:
    """Hash (255,) and grey square (1024,) of one image, or the sentence on why there is none."""
    try:
        grey = _grey(path)
    except UserError as error:
        return str(error)
    return _hash(grey), _pixels(grey)


def distances(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of bits (N, M) in which hashes (N, 255) and (M, 255) differ."""
    one, other = first.astype(np.float32), second.astype(np.float32)
    same = one @ other.T + (1 - one) @ (1 - other).T  # whole numbers below 2^24: exact
    return BITS - same.astype(np.int64)


def distinctive_names(paths: Iterable[str]) -> dict[str, str]:
    """File names without folder and ending, in lower case, of the paths that can be told by them.

    A name that several of these images share, such as SLAKE's ``source.jpg``, says nothing.

    Args:
        paths: Paths of different images, of one split of one data set.

    Returns:
        Name by path.
    """
    names = {path: PurePosixPath(path).stem.lower() for path in paths}
    seen = Counter(names.values())
    return {path: name for path, name in names.items() if seen[name] == 1}


def name_pairs(images: Iterable[str], held_out: Iterable[Iterable[str]]) -> list[tuple[str, str]]:
    """Find the images whose name another data set uses as well.

    Args:
        images: Paths of the images that would train, relative to their data set.
        held_out: Paths of the images of each split of another data set.

    Returns:
        Path of the one and path of the other of all images of equal distinctive name, sorted.
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


def same_names(images: Iterable[str], held_out: Iterable[Iterable[str]]) -> set[str]:
    """The paths among ``images`` that :func:`name_pairs` finds in ``held_out``."""
    return {path for path, _ in name_pairs(images, held_out)}


def content_pairs(
    first: Looks, second: Looks, max_distance: int = ALIKE, min_correlation: float = SAME
) -> list[ImagePair]:
    """Find the images of two sets that look the same.

    Hashes alone confuse images of one kind, such as chest films, so what they find is compared
    pixel by pixel in small copies.

    Args:
        first: What the images of the one set look like.
        second: What those of the other look like.
        max_distance: Most bits in which the hashes of the same image differ.
        min_correlation: Least correlation of small copies of the same image.

    Returns:
        The pairs, in the order of the sets.
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
