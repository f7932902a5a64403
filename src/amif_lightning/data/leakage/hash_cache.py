"""What images look like, kept on disk: reading a large corpus takes hours, and once is enough.

A folder holds one file ``<data set>.npz`` for each data set: for every image its path, size in
bytes and time of change, its perceptual hash and its grey square of 32 pixels (about 1.1 kB a
image). An image whose size or time differs is read again. No content of an image larger than
that square is kept; the files belong to the data, under whose licence they stay.
"""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from amif_lightning.data.files.atomic import locked, replacing
from amif_lightning.data.leakage.image_hash import BITS, PIXELS, Looks, look_at

#: Images of a part; at most these are lost when a process is killed.
PART = 1024
_ADVICE = "give another folder for the hashes of images, as --hashes"
_VERSION = 1  # of what is kept; another rule of hashing must raise it
_BYTES = (BITS + 7) // 8


@dataclass(frozen=True)
class _Entry:
    size: int
    changed: int  # nanoseconds
    bits: NDArray[np.uint8]  # (32,), the hash packed
    pixels: NDArray[np.uint8]  # (1024,)


class HashStore:
    """Tells what images look like, reading each one once.

    Args:
        folder: Where the files lie; made when something is written.
        progress: Whether to show a progress bar.
    """

    def __init__(self, folder: str | Path = "data/hashes", progress: bool = True) -> None:
        self.folder, self.progress = Path(folder), progress

    def look(self, images: Mapping[str, Path]) -> Looks:
        """Hash images, from disk where they are there; damaged ones are named in the result.

        What has to be read is written in parts, so that a later call goes on where a killed one
        was. Of several processes one reads and the others wait.

        Args:
            images: Files by ``<data set>/<path relative to its root>``.

        Raises:
            UserError: If nothing can be written.
        """
        groups: dict[str, dict[str, Path]] = defaultdict(dict)
        for name, file in images.items():
            dataset, _, path = name.partition("/")
            groups[dataset][path] = file
        entries: dict[str, _Entry] = {}
        damaged: dict[str, str] = {}
        for dataset, files in groups.items():
            kept, bad = self._of_dataset(dataset, files)
            entries |= {f"{dataset}/{path}": entry for path, entry in kept.items()}
            damaged |= {f"{dataset}/{path}": sentence for path, sentence in bad.items()}
        found = {name: entries[name] for name in images if name in entries}
        packed = np.array([e.bits for e in found.values()], dtype=np.uint8).reshape(-1, _BYTES)
        return Looks(
            names=tuple(found),
            hashes=np.unpackbits(packed, axis=1, count=BITS).astype(bool),
            pixels=np.array([e.pixels for e in found.values()], dtype=np.uint8).reshape(-1, PIXELS),
            damaged=damaged,
        )

    def _of_dataset(
        self, dataset: str, files: Mapping[str, Path]
    ) -> tuple[dict[str, _Entry], dict[str, str]]:
        whole = self.folder / f"{dataset}.npz"
        damaged: dict[str, str] = {}
        with locked(whole, _ADVICE):
            parts = sorted(self.folder.glob(f".{dataset}.part-*.npz"))
            kept = _read(whole)
            for part in parts:
                kept |= _read(part)
            # A file that is gone has no state; `look_at` says so in its sentence.
            stale = [p for p, f in files.items() if p not in kept or _state(f) != _age(kept[p])]
            # Above all parts that are there, readable or not.
            number = max((int(p.stem.rpartition("-")[2]) for p in parts), default=-1) + 1
            with (
                ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
                tqdm(
                    total=len(stale),
                    desc=f"images of {dataset}",
                    unit="image",
                    disable=not self.progress or not stale,
                ) as bar,
            ):
                for start in range(0, len(stale), PART):
                    names = stale[start : start + PART]
                    new, bad = _look(pool, {name: files[name] for name in names}, bar)
                    damaged |= bad
                    for name in bad:
                        kept.pop(name, None)
                    kept |= new
                    part = self.folder / f".{dataset}.part-{number:06d}.npz"
                    number += 1
                    _write(part, new)
                    parts.append(part)
            if parts:
                _write(whole, kept)
                for part in parts:
                    part.unlink(missing_ok=True)
        return {path: kept[path] for path in files if path not in damaged}, damaged


def _look(
    pool: ThreadPoolExecutor, files: Mapping[str, Path], bar: tqdm
) -> tuple[dict[str, _Entry], dict[str, str]]:
    new: dict[str, _Entry] = {}
    damaged: dict[str, str] = {}
    # The state before reading: an image that changes meanwhile is read again next time.
    states = {name: _state(file) for name, file in files.items()}
    for name, one in zip(files, pool.map(look_at, files.values()), strict=True):
        bar.update()
        state = states[name]
        if isinstance(one, str):
            damaged[name] = one
        elif state is None:
            damaged[name] = f"The image {files[name]} appeared while it was read: call again."
        else:
            new[name] = _Entry(*state, np.packbits(one[0]), one[1])
    return new, damaged


def _state(file: Path) -> tuple[int, int] | None:
    """Size and time of change; None where the file is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _age(entry: _Entry) -> tuple[int, int]:
    return entry.size, entry.changed


def _read(path: Path) -> dict[str, _Entry]:
    """The entries of a file; none where it is not there, not whole, or of another version."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if int(arrays["version"]) != _VERSION:
                return {}
            text = arrays["paths"].tobytes().decode()
            paths = text.split("\0") if text else []
            columns = [arrays[name] for name in ("sizes", "changed", "bits", "pixels")]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return {}
    shapes = [(len(paths),), (len(paths),), (len(paths), _BYTES), (len(paths), PIXELS)]
    if [column.shape for column in columns] != shapes:
        return {}
    return {
        path: _Entry(int(size), int(changed), bits, pixels)
        for path, size, changed, bits, pixels in zip(paths, *columns, strict=True)
    }


def _write(path: Path, entries: Mapping[str, _Entry]) -> None:
    kept = entries.values()
    # By its name np.savez would add an ending.
    with replacing(path, _ADVICE) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            version=np.array(_VERSION),
            paths=np.frombuffer("\0".join(entries).encode(), dtype=np.uint8),
            sizes=np.array([e.size for e in kept], dtype=np.int64),
            changed=np.array([e.changed for e in kept], dtype=np.int64),
            bits=np.array([e.bits for e in kept], dtype=np.uint8).reshape(-1, _BYTES),
            pixels=np.array([e.pixels for e in kept], dtype=np.uint8).reshape(-1, PIXELS),
        )
