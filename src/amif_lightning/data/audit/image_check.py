"""Finds image files that are missing or cannot be decoded, before training meets them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.errors import UserError

#: JPEG files are decoded at the smallest scale: the whole file is still parsed, so a truncated one
#: is found, at a third of the cost of the full image.
_SIDE = 32


@dataclass(frozen=True)
class ImageCheck:
    """Result of reading every image once.

    Attributes:
        checked: Number of image files looked for.
        missing: Paths below the root of files that are not there, sorted.
        undecodable: Paths of files that are no images or are damaged, sorted.
        absent_folders: Outermost folders that are not there at all, with the number of images
            that belong in them; these are not counted as checked or missing. A folder of a single
            image inside another folder that is there counts as a missing image.
    """

    checked: int
    missing: tuple[str, ...] = ()
    undecodable: tuple[str, ...] = ()
    absent_folders: dict[str, int] = field(default_factory=dict)


def check_images(files: Mapping[str, Path], threads: int = 2) -> ImageCheck:
    """Reads images and lists the ones that fail.

    Args:
        files: Where each image lies, by its path in the release, with forward slashes.
        threads: Images read at the same time; decoding runs outside Python's lock.

    Returns:
        The counts and the names.
    """
    absent = {name: _absent_folder(name, file) for name, file in sorted(files.items())}
    elsewhere = Counter(folder for folder in absent.values() if folder)
    for name, folder in absent.items():
        # Where each image has a folder of its own, that folder alone is a missing image.
        if folder == _parent(name) and "/" in folder and elsewhere[folder] == 1:
            absent[name] = ""
            del elsewhere[folder]
    present = [name for name, folder in absent.items() if not folder]
    existing = [name for name in present if files[name].is_file()]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        good = tqdm(
            pool.map(_decodes, (files[name] for name in existing)),
            total=len(existing),
            desc="images",
            unit="image",
            disable=None,
        )
        undecodable = [name for name, ok in zip(existing, good, strict=True) if not ok]
    return ImageCheck(
        checked=len(present),
        missing=tuple(sorted(set(present) - set(existing))),
        undecodable=tuple(undecodable),
        absent_folders=dict(sorted(elsewhere.items())),
    )


def _absent_folder(name: str, file: Path) -> str:
    """The outermost folder of an image's path that is not there, empty where all are."""
    folder, absent = file.parent, ""
    while not folder.is_dir():
        absent = name = _parent(name)
        if "/" not in name:
            break
        folder = folder.parent
    return absent


def _parent(image: str) -> str:
    return image.rpartition("/")[0] or "."


def _decodes(path: Path) -> bool:
    try:
        decode_image(path, _SIDE)  # what training calls, so that both judge a file alike
    except UserError:
        return False
    return True
