"""Pictures that two sets have in common, found by file name and by content.

Data sets take pictures from the same archives, so a picture that trains may be one that another
data set scores, in another size or format or under another name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_modules.images import decode_image

_SIDE = 64  # pixels a side of the square that is transformed
_WAVES = 16  # the lowest frequencies of each direction
BITS = _WAVES * _WAVES - 1
_COPY = 32  # pixels a side of the small copies that confirm a hash
#: Most bits in which the hashes of the same picture differ, where one expects 127 by chance, and
#: the least correlation of its copies. Counted on VQA-RAD and VQA-Med-2019, whose copies differ in
#: size and compression: the 38 pictures of equal name differ in 28 bits at most and correlate at
#: 0.975 or more. The limits are wider on purpose: what else they let through has neighbouring
#: numbers, slices of one patient, which must not be seen either. See the test marked real_data.
ALIKE, SAME = 40, 0.9


def perceptual_hash(path: Path) -> NDArray[np.bool_]:
    """What a picture looks like, whatever its size and compression: (255,) bool.

    The signs, against their median, of the lowest 16 x 16 frequencies (without the mean) of the
    cosine transform of the picture as a grey square of 64 pixels.

    Raises:
        UserError: If the file is missing or damaged.
    """
    grey = decode_image(path, _SIDE).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    waves = _cosines()
    found = (waves @ np.asarray(grey, dtype=np.float64) @ waves.T).ravel()[1:]
    bits: NDArray[np.bool_] = found > np.median(found)
    return bits


@cache
def _cosines() -> NDArray[np.float64]:
    place = np.arange(_SIDE) + 0.5
    waves: NDArray[np.float64] = np.cos(np.pi / _SIDE * np.outer(np.arange(_WAVES), place))
    return waves


def small_copy(path: Path) -> NDArray[np.float64]:
    """The picture as a grey square of 32 pixels: (1024,), its mean 0 and its norm 1.

    The product of two is their correlation. A picture of one shade is all 0, like no other.

    Raises:
        UserError: If the file is missing or damaged.
    """
    grey = decode_image(path, _SIDE).convert("L").resize((_COPY, _COPY), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.float64).ravel()
    pixels = pixels - pixels.mean()
    copy: NDArray[np.float64] = pixels / max(float(np.linalg.norm(pixels)), 1e-9)
    return copy


def hashes(paths: Sequence[Path]) -> NDArray[np.bool_]:
    """The perceptual hashes (N, 255) of pictures; decoding runs outside Python's lock."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return np.array(list(pool.map(perceptual_hash, paths)), dtype=bool).reshape(-1, BITS)


def distances(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of bits (N, M) in which hashes (N, 255) and (M, 255) differ."""
    one, other = first.astype(np.float32), second.astype(np.float32)
    same = one @ other.T + (1 - one) @ (1 - other).T  # whole numbers below 2^24: exact
    return BITS - same.astype(np.int64)


def distinctive_names(paths: Iterable[str]) -> dict[str, str]:
    """File names without folder and ending, in lower case, of the paths that can be told by them.

    A name that several of these pictures share, such as SLAKE's ``source.jpg``, says nothing.

    Args:
        paths: Paths of different pictures, of one split of one data set.

    Returns:
        Name by path.
    """
    names = {path: PurePosixPath(path).stem.lower() for path in paths}
    seen = Counter(names.values())
    return {path: name for path, name in names.items() if seen[name] == 1}


def same_names(images: Iterable[str], held_out: Iterable[Iterable[str]]) -> set[str]:
    """Find the pictures whose name another data set uses as well.

    Args:
        images: Paths of the pictures that would train, relative to their data set.
        held_out: Paths of the pictures of each split of another data set.

    Returns:
        Those of ``images`` whose distinctive name is that of a held-out picture.
    """
    names = {name for split in held_out for name in distinctive_names(split).values()}
    return {path for path, name in distinctive_names(images).items() if name in names}


def same_content(
    images: Mapping[str, Path], held_out: Iterable[Path], most: int = ALIKE, least: float = SAME
) -> set[str]:
    """Find the pictures that look like one that is scored.

    Hashes alone confuse pictures of one kind, such as chest films, so what they find is compared
    pixel by pixel in small copies.

    Args:
        images: Files by any name, of the pictures that would train.
        held_out: Files of the pictures that are scored; those that are not on disk are left out.
        most: Most bits in which the hashes of the same picture differ.
        least: Least correlation of small copies of the same picture.

    Returns:
        The names of those that look the same.

    Raises:
        UserError: If a picture that would train is missing, or any is damaged.
    """
    names, files = list(images), sorted({file for file in held_out if file.is_file()})
    if not names or not files:
        return set()
    near = distances(hashes([images[name] for name in names]), hashes(files)) <= most
    hits = [(names[row], files[column]) for row, column in np.argwhere(near)]
    copies = {file: small_copy(file) for file in {file for _, file in hits}}
    own = {name: small_copy(images[name]) for name in {name for name, _ in hits}}
    return {name for name, file in hits if own[name] @ copies[file] >= least}
