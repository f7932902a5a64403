"""Tables, built from descriptions of their columns, and their Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from amif_lightning.errors import printable

T = TypeVar("T")
#: Name of a column, and the function that gives an item's cell.
Columns = Sequence[tuple[str, Callable[[T], str]]]


@dataclass(frozen=True)
class Table:
    """A table for Markdown and the page; ``folded`` labels its fold on the page (empty: open)."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: str = ""  # how the cells are computed
    folded: str = ""

    @property
    def parts(self) -> list[str]:
        """Heading, Markdown and legend; empty without rows."""
        if not self.rows:
            return []
        return [f"## {self.title}", markdown(self.header, self.rows), self.legend]

    @property
    def words(self) -> list[bool]:
        """Whether a column is mostly text and aligned left; numbers are aligned right."""
        starts = [[cell[0] for cell in column if cell] for column in zip(*self.rows, strict=True)]
        numbers = [sum(start in "+-0123456789" for start in column) for column in starts]
        return [2 * n < len(some) or not some for n, some in zip(numbers, starts, strict=True)]

    def without(self, hidden: Collection[str], **changes: Any) -> Table:
        """Copy without the named columns and with other attributes changed."""
        kept = [place for place, name in enumerate(self.header) if name not in hidden]
        header, *rows = (tuple(row[place] for place in kept) for row in (self.header, *self.rows))
        return replace(self, header=header, rows=tuple(rows), **changes)


def build(title: str, columns: Columns[T], items: Iterable[T], legend: str) -> Table:
    """Build a table with a row per item."""
    rows = tuple(tuple(cell(item) for _, cell in columns) for item in items)
    return Table(title, tuple(name for name, _ in columns), rows, legend)


def bullets(sentences: Collection[str]) -> list[str]:
    """Format a Markdown list as one part; empty without sentences."""
    return ["\n".join(f"- {escaped(text)}" for text in sentences)] if sentences else []


def escaped(text: str) -> str:
    """Escape control characters, and the marks of tables, code, HTML and links in Markdown."""
    marks = r"\\*(?:[|`]|<(?=[A-Za-z/!?])|(?<=\])\()"
    return re.sub(marks, lambda mark: f"{2 * mark[0][:-1]}\\{mark[0][-1]}", printable(text))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table with columns that are also aligned as plain text."""
    cells = [[escaped(" ".join(text.split())) for text in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
