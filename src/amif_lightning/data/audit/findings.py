"""Common parts of the audits of questions and of studies: verdict, JSON and text."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tqdm import tqdm

from amif_lightning.data.preprocessing.images import MAX_PIXELS, decode_image
from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.errors import UserError, printable

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


def image_check(
    files: Mapping[str, Path], max_pixels: int = MAX_PIXELS, threads: int = 2
) -> ImageCheck:
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
        results = pool.map(partial(_decodes, max_pixels), (files[name] for name in existing))
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


def _decodes(max_pixels: int, path: Path) -> bool:
    try:
        decode_image(path, _SIDE, max_pixels)  # as in training, so that both accept the same files
    except UserError:
        return False
    return True


#: How many file names or dropped rows a printed audit names.
NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Findings(ABC):
    """Findings on questions or studies."""

    kind: ClassVar[str]
    dataset: str
    layout: str
    protocol: str = "clean"  # as printed, `literature` with its label
    not_clean: list[str]  # one sentence for each kind of leak in the training rows
    dropped: dict[str, tuple[int, tuple[str, ...]]]  # count and first ids by reason
    images: ImageCheck | None  # None: not checked
    absent: dict[str, str]  # reason by missing part, which is not checked
    notes: tuple[str, ...]  # sentences for every record, and what could not be counted

    @property
    def clean(self) -> bool:
        """Whether no leak was found."""
        return not self.not_clean

    @property
    def failed(self) -> bool:
        """Whether an image is unreadable or, unless under `literature`, there is a leak."""
        unreadable = bool(self.images and (self.images.missing or self.images.undecodable))
        return unreadable or (not self.clean and not self.protocol.startswith("literature"))

    def to_json(self) -> str:
        """Return the findings as indented JSON."""
        fields: dict[str, Any] = asdict(self) | {"clean": self.clean, "failed": self.failed}
        return printable(json.dumps(fields, indent=2, ensure_ascii=False), keep="\n")

    def to_text(self) -> str:
        """Return the findings as terminal text without a final line break."""
        lines = [*self._text(), *(f"NOT CLEAN ({self.protocol}): {one}" for one in self.not_clean)]
        if self.clean:
            lines.append(self._verdict())
        lines += [
            f"dropped: {number} {self.kind}, {reason} ({_listed(number, named)})"
            for reason, (number, named) in self.dropped.items()
        ]
        lines += [f"absent: {what}: {sentence}" for what, sentence in self.absent.items()]
        lines += ["images: not checked"] if self.images is None else _image_lines(self.images)
        return "\n".join(map(printable, [*lines, *(f"note: {note}" for note in self.notes)]))

    def _verdict(self) -> str:
        """Sentence for a data set without a leak."""
        return "clean: no leak found in what would be trained"

    @abstractmethod
    def _text(self) -> list[str]:
        """Lines on the sizes and overlaps of sets."""


def dropped_by_reason(rows: Iterable[DroppedRow]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Count dropped rows by reason and name the first few."""
    names: dict[str, list[str]] = {}
    for row in rows:
        name = f"{row.question_id}: {row.detail}" if row.detail else row.question_id
        names.setdefault(row.reason, []).append(printable(name))
    return {reason: (len(found), tuple(found[:NAMED])) for reason, found in names.items()}


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _listed(number: int, named: Sequence[str]) -> str:
    return ", ".join(named) + (", ..." if number > len(named) else "")


def _image_lines(images: ImageCheck) -> list[str]:
    lines = [f"images: {images.checked} checked"]
    for folder, number in images.absent_folders.items():
        lines.append(f"images: folder {folder} is absent, its {number} images not checked")
    for what, files in (("missing", images.missing), ("undecodable", images.undecodable)):
        if files:
            lines.append(f"images: {len(files)} {what} ({_listed(len(files), files[:NAMED])})")
    return lines
