"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Table(str):
    """A Markdown table that remembers its cells, for renderings that are no Markdown.

    Attributes:
        header: Titles of the columns.
        rows: Cells of each row.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __new__(cls, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
        """Write the table as Markdown, see :func:`markdown`."""
        cells = tuple(tuple(row) for row in rows)
        made = super().__new__(cls, markdown(header, cells))
        made.header, made.rows = tuple(header), cells
        return made


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    cells = [[_cell(text) for text in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
