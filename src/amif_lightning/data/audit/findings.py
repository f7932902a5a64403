"""What the audits of questions and of studies share: the verdict, and how findings are written."""

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
    """What the audits of questions and of studies say alike.

    Attributes:
        dataset: Name of the data set.
        layout: Published layout that was read.
        protocol: The protocol as printed, ``literature`` with its label.
        not_clean: One sentence for each kind of leak in what would be trained.
        dropped: Reason, number of rows, and the first few ids or places.
        images: Result of the image check, None if it was not asked for.
        absent: What is not on disk, with its sentence; its checks are left out.
        notes: Sentences that every record repeats, and what could not be counted.
    """

    kind: ClassVar[str]
    dataset: str
    layout: str
    protocol: str = "clean"
    not_clean: list[str]
    dropped: dict[str, tuple[int, tuple[str, ...]]]
    images: ImageCheck | None
    absent: dict[str, str]
    notes: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether no leak was found."""
        return not self.not_clean

    @property
    def failed(self) -> bool:
        """Whether something must be mended: a leak under ``clean``, or unreadable images.

        ``literature`` leaks by definition; that is printed and labelled and is not a failure.
        """
        unreadable = bool(self.images and (self.images.missing or self.images.undecodable))
        return unreadable or (self.protocol == "clean" and not self.clean)

    def to_json(self) -> str:
        """Gives the findings as indented JSON text."""
        fields: dict[str, Any] = asdict(self) | {"clean": self.clean, "failed": self.failed}
        return json.dumps(fields, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """Gives the findings as a page for the terminal, without a final line break."""
        lines = [*self._text(), *(f"NOT CLEAN ({self.protocol}): {one}" for one in self.not_clean)]
        if self.clean:
            lines.append("clean: no leak found in what would be trained")
        lines += [
            f"dropped: {number} {self.kind}, {reason} ({listed(number, named)})"
            for reason, (number, named) in self.dropped.items()
        ]
        lines += [f"absent: {what}: {sentence}" for what, sentence in self.absent.items()]
        return "\n".join([*lines, *image_lines(self.images), *(f"note: {n}" for n in self.notes)])

    @abstractmethod
    def _text(self) -> list[str]:
        """Lines on sizes and on what sets share."""


def dropped_by_reason(rows: Iterable[DroppedRow]) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Count dropped rows by reason and name the first few."""
    names: dict[str, list[str]] = {}
    for row in rows:
        name = f"{row.question_id}: {row.detail}" if row.detail else row.question_id
        names.setdefault(row.reason, []).append(name)
    return {reason: (len(found), tuple(found[:NAMED])) for reason, found in names.items()}


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligns columns: names to the left, values to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def listed(number: int, named: Sequence[str]) -> str:
    """The names with commas, and dots where they are not all of ``number``."""
    return ", ".join(named) + (", ..." if number > len(named) else "")


def image_lines(images: ImageCheck | None) -> list[str]:
    """What the image check found; None: it was not asked for."""
    if images is None:
        return ["images: not checked"]
    lines = [f"images: {images.checked} checked"]
    for folder, number in images.absent_folders.items():
        lines.append(f"images: folder {folder} is absent, its {number} images not checked")
    for what, files in (("missing", images.missing), ("undecodable", images.undecodable)):
        if files:
            lines.append(f"images: {len(files)} {what} ({listed(len(files), files[:NAMED])})")
    return lines
