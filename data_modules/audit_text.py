"""How findings of the audits are written for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data_modules.images_check import ImageCheck

#: How many file names or dropped rows a printed audit names.
NAMED = 5


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
    """What the picture check found; None: it was not asked for."""
    if images is None:
        return ["pictures: not checked"]
    lines = [f"pictures: {images.checked} checked"]
    for folder, number in images.absent_folders.items():
        lines.append(f"pictures: folder {folder} is absent, its {number} pictures not checked")
    for what, files in (("missing", images.missing), ("undecodable", images.undecodable)):
        if files:
            lines.append(f"pictures: {len(files)} {what} ({listed(len(files), files[:NAMED])})")
    return lines
