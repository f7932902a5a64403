"""Find image files that are missing or cannot be decoded."""

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
    """Result of reading every image once, with sorted paths relative to the root.

    ``absent_folders`` counts images by outermost missing folder; they are neither checked nor
    missing. If only the subfolder of a single image is missing, that image counts as missing.
    """

    checked: int
    missing: tuple[str, ...] = ()
    undecodable: tuple[str, ...] = ()
    absent_folders: dict[str, int] = field(default_factory=dict)


def check_images(files: Mapping[str, Path], threads: int = 2) -> ImageCheck:
    """Read images, given by their path in the release with forward slashes."""
    absent = {name: _absent_folder(name, file) for name, file in sorted(files.items())}
    folders = Counter(folder for folder in absent.values() if folder)
    for name, folder in absent.items():
        # Where each image has its own folder, a missing folder is a missing image.
        if folder == _parent(name) and "/" in folder and folders[folder] == 1:
            absent[name] = ""
            del folders[folder]
    present = [name for name, folder in absent.items() if not folder]
    existing = [name for name in present if files[name].is_file()]
    with ThreadPoolExecutor(max_workers=threads) as pool:
        results = pool.map(_decodes, (files[name] for name in existing))
        bar = tqdm(results, total=len(existing), desc="images", unit="image", disable=None)
        undecodable = [name for name, ok in zip(existing, bar, strict=True) if not ok]
    return ImageCheck(
        checked=len(present),
        missing=tuple(sorted(set(present) - set(existing))),
        undecodable=tuple(undecodable),
        absent_folders=dict(sorted(folders.items())),
    )


def _absent_folder(name: str, file: Path) -> str:
    """The outermost missing folder of an image's path; empty if all exist."""
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
        decode_image(path, _SIDE)  # as in training, so that both accept the same files
    except UserError:
        return False
    return True
