"""Common parts of the audits of questions and of studies: verdict, JSON and text."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from amif_lightning.data.audit.image_check import ImageCheck
from amif_lightning.data.schema.questions import DroppedRow

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
        """Whether an image is unreadable, or there is a leak under the protocol ``clean``."""
        unreadable = bool(self.images and (self.images.missing or self.images.undecodable))
        return unreadable or (self.protocol == "clean" and not self.clean)

    def to_json(self) -> str:
        """Return the findings as indented JSON."""
        fields: dict[str, Any] = asdict(self) | {"clean": self.clean, "failed": self.failed}
        return json.dumps(fields, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """Return the findings as terminal text without a final line break."""
        lines = [*self._text(), *(f"NOT CLEAN ({self.protocol}): {one}" for one in self.not_clean)]
        if self.clean:
            lines.append("clean: no leak found in what would be trained")
        lines += [
            f"dropped: {number} {self.kind}, {reason} ({_listed(number, named)})"
            for reason, (number, named) in self.dropped.items()
        ]
        lines += [f"absent: {what}: {sentence}" for what, sentence in self.absent.items()]
        lines += ["images: not checked"] if self.images is None else _image_lines(self.images)
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    @abstractmethod
    def _text(self) -> list[str]:
        """Lines on the sizes and overlaps of sets."""


def dropped_by_reason(rows: Iterable[DroppedRow]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Count dropped rows by reason and name the first few."""
    names: dict[str, list[str]] = {}
    for row in rows:
        name = f"{row.question_id}: {row.detail}" if row.detail else row.question_id
        names.setdefault(row.reason, []).append(name)
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
