"""Read a user's table, whose columns are named by options."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amif_lightning.data.files.names import is_text
from amif_lightning.data.files.parquet import read_columns
from amif_lightning.data.files.tables import TableFile, read_json_lines, read_table
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.errors import UserError

BAD_CELL = "a cell is missing or of the wrong kind"
BAD_SPLIT = "its split is not train, validation (valid, val, validate, dev) or test"

SPLITS: Mapping[str, SplitName] = {
    **dict.fromkeys(("", "train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "validate", "dev"), "validation"),
    "test": "test",
}
_PACKED = (".csv", ".tsv", ".jsonl")
_SUFFIXES = (*_PACKED, *(f"{suffix}.gz" for suffix in _PACKED), ".parquet")


def check_table(table: str, columns: Mapping[str, str], required: Sequence[str]) -> None:
    """Check the name of a table and the columns by role; columns that are not required may be "".

    Raises:
        UserError: If a required column is empty, two roles have the same column, or the table's
            name has another ending than .csv, .tsv, .jsonl (also with .gz) or .parquet.
    """
    for role in required:
        if not columns[role]:
            raise UserError(f"data.init_args.{role}_column is empty: give the name of a column.")
    named = [column for column in columns.values() if column]
    if twice := next((column for column in named if named.count(column) > 1), ""):
        raise UserError(
            f"data.init_args: the column {twice!r} is given twice: give each role its own."
        )
    if not table.endswith(_SUFFIXES):
        raise UserError(
            f"data.init_args.table is {table!r}: give a file that ends in .csv, .tsv, .jsonl "
            "(also with .gz) or .parquet."
        )


@dataclass(frozen=True)
class UserTable:
    """A table of a ``dataset``, and its columns by role; an empty name means no column."""

    path: Path
    dataset: str
    columns: Mapping[str, str]

    @property
    def layout(self) -> str:
        """The kind of file, such as ``csv``."""
        return self.path.name.removesuffix(".gz").rpartition(".")[2]

    @property
    def source(self) -> TableFile:
        """The file, for errors."""
        action = "check the file, or give another one as --data.init_args.table"
        return TableFile(self.path, self.dataset, action)

    def place(self, number: int) -> str:
        """Return where a row is, such as ``line 7``."""
        return f"{'row' if self.layout == 'parquet' else 'line'} {number}"

    def rows(self, dropped: list[DroppedRow]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the cells of each row by column, with its line (parquet: row) from 1.

        Malformed lines are appended to ``dropped``.

        Raises:
            UserError: If the table is missing, damaged or empty, or lacks a column.
        """
        named = [column for column in self.columns.values() if column]
        if self.layout == "parquet":
            yield from enumerate(read_columns(self.path, named, self.dataset), start=1)
        elif self.layout == "jsonl":
            known: dict[str, None] = {}  # in the order of the file
            for number, row in read_json_lines(self.source, dropped):
                known |= dict.fromkeys(row)
                yield number, row
            if lacking := [column for column in named if known and column not in known]:
                shown = ", ".join(known)[:200]
                raise self.source.error(f"has no column {lacking[0]!r} (it has {shown})")
        else:
            delimiter = "\t" if self.layout == "tsv" else ","
            yield from read_table(self.source, named, dropped, delimiter)

    def cells(self, row: Mapping[str, Any]) -> dict[str, object]:
        """Return the cells of a row by role, each as in :func:`value`."""
        return {role: value(row, column) for role, column in self.columns.items()}


def value(row: Mapping[str, Any], column: str) -> object:
    """Return a cell as text (also whole numbers) or list; "" for null or no column, else False."""
    cell = row.get(column) if column else ""
    if cell is None or cell != cell:  # NaN is pandas' empty cell
        return ""
    if isinstance(cell, float) and cell.is_integer():  # pandas' column of integers and empty cells
        cell = int(cell)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    return cell if isinstance(cell, list) or is_text(cell) else False


def several(cell: object, separator: str) -> list[str] | None:
    """Return the entries of a cell: a list, or text with a JSON list or separators; None if bad."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):  # a name may begin with a bracket
            cell = json.loads(cell)
    if isinstance(cell, str):
        parts = cell.split(separator) if separator else [cell]
        return [part.strip() for part in parts if part.strip()]
    if isinstance(cell, list) and all(is_text(part) and part.strip() for part in cell):
        return [part.strip() for part in cell]
    return None
