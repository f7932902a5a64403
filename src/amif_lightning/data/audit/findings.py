"""What the audits of questions and of studies share: the verdict, and how findings are written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from amif_lightning.data.audit.image_check import ImageCheck

#: How many file names or dropped rows a printed audit names.
NAMED = 5


class Findings:
    """Base of a dataclass of findings.

    Attributes:
        not_clean: One sentence for each kind of leak in what would be trained.
        images: Result of the image check, None if it was not asked for.
    """

    not_clean: list[str]
    images: ImageCheck | None

    @property
    def clean(self) -> bool:
        """Whether no leak was found."""
        return not self.not_clean

    @property
    def failed(self) -> bool:
        """Whether something must be mended: a leak, or unreadable images."""
        return self.unreadable or not self.clean

    @property
    def unreadable(self) -> bool:
        """Whether images are missing or cannot be decoded."""
        return bool(self.images and (self.images.missing or self.images.undecodable))

    def to_json(self) -> str:
        """Gives the findings as indented JSON text."""
        values: Any = self  # subclasses are dataclasses
        fields: dict[str, Any] = asdict(values) | {"clean": self.clean, "failed": self.failed}
        return json.dumps(fields, indent=2, ensure_ascii=False)


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


def dropped_lines(dropped: Mapping[str, tuple[int, tuple[str, ...]]], what: str) -> list[str]:
    """One line for each reason, with its number of ``what`` and the first few."""
    return [
        f"dropped: {number} {what}, {reason} ({listed(number, named)})"
        for reason, (number, named) in dropped.items()
    ]


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
