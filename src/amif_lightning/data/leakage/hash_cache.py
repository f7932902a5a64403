"""Cache the perceptual hashes of images, since reading a large corpus takes hours.

Each data set has a file ``<data set>.npz`` of about 1.1 kB per image: path, size in bytes,
modification time, hash and grey square of 32 pixels. An image with another size or time is read
again. The squares are reduced images, so the files keep the licence of the data.
"""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from amif_lightning.data.files.atomic import locked, remove_left_behind, replacing
from amif_lightning.data.leakage.image_hash import BITS, PIXELS, Looks, look_at
from amif_lightning.data.preprocessing.images import MAX_PIXELS

#: Images per part; at most these are lost when a process is killed.
PART = 1024
_ADVICE = "give another folder for the hashes of images, as --hashes"
_VERSION = 1  # raise it when the hashes change
# One image: its size, its modification time in nanoseconds, the packed hash and the grey square.
_ENTRY = np.dtype(
    [
        ("sizes", np.int64),
        ("changed", np.int64),
        ("bits", np.uint8, (BITS + 7) // 8),
        ("pixels", np.uint8, PIXELS),
    ]
)
_Entries = dict[str, np.void]  # by path


class HashStore:
    """Hash images of at most ``max_pixels`` once, with a cache in ``folder``."""

    def __init__(
        self,
        folder: str | Path = "data/hashes",
        progress: bool = True,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.folder, self.progress, self.max_pixels = Path(folder), progress, max_pixels

    def look(self, images: Mapping[str, Path]) -> Looks:
        """Hash images named ``<data set>/<path below its root>``, from the cache where possible.

        New hashes are written in parts, so an interrupted call resumes. One process reads while
        others wait. Damaged images are named in the result.

        Raises:
            UserError: If the cache cannot be written.
        """
        groups: dict[str, dict[str, Path]] = defaultdict(dict)
        for name, file in images.items():
            dataset, _, path = name.partition("/")
            groups[dataset][path] = file
        places = {name: place for place, name in enumerate(images)}
        found = np.empty(len(images), _ENTRY)
        damaged: dict[str, str] = {}
        for dataset, files in groups.items():
            # Copied, so that only one data set's entries are in memory twice.
            kept, bad = self._of_dataset(dataset, files)
            for path in files.keys() - bad.keys():
                found[places[f"{dataset}/{path}"]] = kept[path]
            damaged |= {f"{dataset}/{path}": sentence for path, sentence in bad.items()}
        names = tuple(name for name in images if name not in damaged)
        if damaged:
            found = found[[places[name] for name in names]]
        return Looks(
            names=names,
            hashes=np.unpackbits(found["bits"], axis=1, count=BITS).astype(bool),
            pixels=found["pixels"],
            damaged=damaged,
        )

    def _of_dataset(
        self, dataset: str, files: Mapping[str, Path]
    ) -> tuple[_Entries, dict[str, str]]:
        whole = self.folder / f"{dataset}.npz"
        damaged: dict[str, str] = {}
        with locked(whole, _ADVICE):
            remove_left_behind(self.folder, f".{dataset}.part-*")
            parts = sorted(self.folder.glob(f".{dataset}.part-*.npz"))
            kept = _read(whole)
            for part in parts:
                kept |= _read(part)
            # A missing file has no state; `look_at` explains it.
            ages = {path: (entry["sizes"], entry["changed"]) for path, entry in kept.items()}
            stale = [path for path, file in files.items() if _state(file) != ages.get(path, ())]
            # One more than the greatest number of the existing parts, readable or not.
            number = max((int(p.stem.rpartition("-")[2]) for p in parts), default=-1) + 1
            hidden = not self.progress or not stale
            hashed = partial(_hashed, self.max_pixels)
            with (
                ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
                tqdm(
                    total=len(stale), desc=f"images of {dataset}", unit="image", disable=hidden
                ) as bar,
            ):
                for start in range(0, len(stale), PART):
                    names = stale[start : start + PART]
                    new: _Entries = {}
                    results = pool.map(hashed, (files[name] for name in names))
                    for name, result in zip(names, results, strict=True):
                        bar.update()
                        if isinstance(result, str):
                            damaged[name] = result
                            kept.pop(name, None)
                        else:
                            new[name] = result
                    kept |= new
                    parts.append(self.folder / f".{dataset}.part-{number:06d}.npz")
                    number += 1
                    _write(parts[-1], new)
            if parts:
                _write(whole, kept)
                for part in parts:
                    part.unlink(missing_ok=True)
        return kept, damaged


def _hashed(max_pixels: int, file: Path) -> np.void | str:
    """The entry of an image, or a sentence on the fault."""
    state = _state(file)  # before reading: an image that changes meanwhile is read again next time
    found = look_at(file, max_pixels)
    if isinstance(found, str):
        return found
    if state is None:
        return f"The image {file} appeared while it was read: call again."
    entry: Any = np.array((*state, np.packbits(found[0]), found[1]), _ENTRY)
    one: np.void = entry[()]
    return one


def _state(file: Path) -> tuple[int, int] | None:
    """Size and modification time; None if the file is missing."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _stacked(entries: _Entries) -> np.ndarray[Any, np.dtype[np.void]]:
    return np.array(list(entries.values()), _ENTRY)


def _read(path: Path) -> _Entries:
    """The entries of a file; none if it is missing, incomplete or of another version."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if int(arrays["version"]) != _VERSION:
                return {}
            text = arrays["paths"].tobytes().decode()
            paths = text.split("\0") if text else []
            entries = np.empty(len(paths), _ENTRY)
            for name in _ENTRY.names or ():
                entries[name] = arrays[name]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return {}
    return dict(zip(paths, entries, strict=True))


def _write(path: Path, entries: _Entries) -> None:
    found = _stacked(entries)
    columns: dict[str, Any] = {name: found[name] for name in _ENTRY.names or ()}
    # To a stream: given a name, np.savez adds an ending.
    with replacing(path, _ADVICE) as temporary, temporary.open("wb") as stream:
        paths = np.frombuffer("\0".join(entries).encode(), dtype=np.uint8)
        np.savez(stream, version=np.array(_VERSION), paths=paths, **columns)
