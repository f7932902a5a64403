"""Tables, built from descriptions of their columns, and their Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
#: Name of a column, and what it says of an item.
Columns = Sequence[tuple[str, Callable[[T], str]]]


@dataclass(frozen=True)
class Table:
    """Cells under their columns, and how they are computed."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: str

    @property
    def parts(self) -> list[str]:
        """Heading, Markdown and legend; empty without rows."""
        if not self.rows:
            return []
        return [f"## {self.title}", markdown(self.header, self.rows), self.legend]


def build(title: str, columns: Columns[T], items: Iterable[T], legend: str) -> Table:
    """A table with a row per item."""
    rows = tuple(tuple(cell(item) for _, cell in columns) for item in items)
    return Table(title, tuple(name for name, _ in columns), rows, legend)


def bullets(sentences: Iterable[str]) -> list[str]:
    """A list in Markdown as one part; none without sentences."""
    return ["\n".join(f"- {text}" for text in sentences)] if sentences else []


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    cells = [[_cell(text) for text in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
