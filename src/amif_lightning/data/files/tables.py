"""Read tables and lines of large corpora in one pass, and released JSON files of questions.

Damaged files raise a UserError; malformed rows become :class:`DroppedRow`, never wrong rows.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Literal, cast

from amif_lightning.data.files.names import is_text
from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.errors import UserError, first_line

MissingImages = Literal["error", "skip"]

MALFORMED = "a malformed line of the table"
NO_FILE = "its image is not on disk"

_MAX_LEVELS = 20  # of lists and objects in a question, which have two or three
_UNREADABLE = (OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class TableFile:
    """A corpus file, decompressed while reading if its name ends in ``.gz``.

    Error sentences begin with ``dataset``, the data class, and end with ``action``, the remedy.
    """

    path: Path
    dataset: str
    action: str

    def error(self, what: str) -> UserError:
        """Return an error with data set, file, fault and remedy in one sentence."""
        return UserError(f"{self.dataset}: {self.path} {what}, so {self.action}.")

    def damaged(self, error: Exception) -> UserError:
        """Return the error for an exception raised by reading."""
        if isinstance(error, FileNotFoundError):
            return self.error("is not there")
        if isinstance(error, UnicodeDecodeError):
            return self.error("is not UTF-8 text")
        what = getattr(error, "strerror", None) or first_line(error)
        return self.error(f"cannot be read ({what})")

    def malformed(self, line: int, detail: str) -> DroppedRow:
        """Return an unreadable line, identified by file and number."""
        return DroppedRow(
            f"{self.dataset}/{self.path.name}/{line}", MALFORMED, f"line {line}: {detail}"
        )

    def open(self) -> IO[bytes]:
        """Open the file; raise a UserError if it is missing or unreadable."""
        try:
            if self.path.suffix == ".gz":
                return cast(IO[bytes], gzip.open(self.path))
            return self.path.open("rb")
        except OSError as error:
            raise self.damaged(error) from error


def read_table(
    source: TableFile, columns: Sequence[str], dropped: list[DroppedRow], delimiter: str = ","
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the first line number, from 1, and the cells by column of each row below the header.

    Columns beyond the required ones are included. Malformed lines are appended to ``dropped``.
    Quoting is strict, since an unclosed quote would swallow the rows below it.

    Raises:
        UserError: If the file is missing, damaged, not UTF-8, ends within a quoted cell, or lacks a
            column.
    """
    with source.open() as packed, TextIOWrapper(packed, "utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                if "unexpected end" in str(error):
                    what = f"ends within a quoted cell that begins at line {line}"
                    raise source.error(what) from error
                if header is None:
                    raise source.error(f"has no readable header ({error})") from error
                dropped.append(source.malformed(line, f"{error}, to line {rows.line_num}"))
                continue
            except (*_UNREADABLE, UnicodeDecodeError) as error:
                raise source.damaged(error) from error
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_columns(source, header, columns)
            elif not cells:  # a blank line, usually the last
                continue
            elif len(cells) != len(header):
                detail = f"{len(cells)} cells under {len(header)} columns"
                dropped.append(source.malformed(line, detail))
            elif not all(is_text(cell) for cell in cells):
                dropped.append(source.malformed(line, "a NUL character"))
            else:
                yield line, dict(zip(header, cells, strict=True))
        if header is None:
            raise source.error("is empty")


def read_lines(source: TableFile, dropped: list[DroppedRow]) -> Iterator[tuple[int, str]]:
    """Yield non-blank lines with their numbers from 1; only line feeds separate lines.

    Lines that are not UTF-8 are appended to ``dropped``. Damaged files raise a UserError.
    """
    try:
        with source.open() as stream:
            # Not splitlines(), which also breaks at characters that may occur in a caption.
            for number, raw in enumerate(stream, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    dropped.append(source.malformed(number, "no UTF-8 text"))
                    continue
                if line.strip():
                    yield number, line
    except _UNREADABLE as error:
        raise source.damaged(error) from error


def read_json_lines(
    source: TableFile, dropped: list[DroppedRow] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON object of each line with its line number from 1.

    Other lines are appended to ``dropped``; if that is None, the first one raises a UserError.
    """
    lost: list[DroppedRow] = [] if dropped is None else dropped
    for number, line in read_lines(source, lost):
        try:
            found = json.loads(line)
        # Integers of thousands of digits raise ValueError, very deep nesting RecursionError.
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            lost.append(source.malformed(number, "no JSON object"))
        if dropped is None and lost:
            break
        if isinstance(found, dict):
            yield number, found
    if dropped is None and lost:
        raise source.error(f"cannot be read ({lost[0].detail})")


class Listing:
    """Look up existing files with one system call per folder."""

    def __init__(self, kept: int = 256) -> None:
        self._names_in = lru_cache(kept)(_names_in)

    def has(self, file: Path) -> bool:
        """Return whether the file is in its folder."""
        folder, name = os.path.split(file)
        return name in self._names_in(folder)


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def either(folder: Path, name: str) -> Path:
    """Return ``name.gz`` if it exists or neither does, else ``name``."""
    packed, plain = folder / f"{name}.gz", folder / name
    return plain if plain.is_file() and not packed.is_file() else packed


def _check_columns(source: TableFile, header: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if header.count(column) != 1:
            how = "has no column" if column not in header else "has more than one column"
            shown = ", ".join(header)[:200]
            raise source.error(f"{how} {column!r} (it has {shown})")
    if not all(is_text(cell) for cell in header):
        raise source.error("has column names that are not text")


def check_folder(title: str, root: Path, source: str) -> None:
    """Raise a UserError that names the option and the source if the root folder is missing."""
    if not root.is_dir():
        raise UserError(
            f"{title}: the folder {root} does not exist, so give the right --data.init_args.root "
            f"or download the data set from {source} into it."
        )


def unexpected(title: str, path: Path, what: str, source: str) -> UserError:
    """Return the error for a readable file with other content than the release."""
    return UserError(
        f"{title}: {path} is not the expected release because {what}, so fetch it from {source}."
    )


def read_json(title: str, path: Path, source: str) -> Any:
    """Read a JSON file; raise a UserError if it cannot be read or is not JSON."""
    try:
        # Some copies start with a byte order mark, which plain utf-8 would pass to the parser.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad JSON and bad UTF-8 are both ValueErrors
        raise UserError(
            f"{title}: {path} is not valid JSON ({error}), probably a truncated download, so fetch "
            f"it again from {source}."
        ) from error
    except OSError as error:
        raise UserError(
            f"{title}: {path} cannot be read ({error.strerror}), so check the file or fetch it "
            f"again from {source}."
        ) from error


def load_questions(
    title: str, path: Path, keys: Collection[str], source: str
) -> list[dict[str, Any]]:
    """Read a JSON list of questions in released order.

    Raises:
        UserError: If the file is unreadable, not a non-empty JSON list of objects, or lacks a key.
    """
    items = read_json(title, path, source)
    if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
        raise unexpected(title, path, "it is not a list of questions", source)
    for number, item in enumerate(items):
        if _is_deep(item, _MAX_LEVELS):
            what = f"question {number} is nested more than {_MAX_LEVELS} levels deep"
            raise unexpected(title, path, what, source)
        if missing := sorted(set(keys) - item.keys()):
            raise unexpected(title, path, f"question {number} has no {', '.join(missing)}", source)
    return items


def _is_deep(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested in more levels, which repr() cannot print."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deep(one, levels - 1) for one in inner)
