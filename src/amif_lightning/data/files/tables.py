"""Tables, lines and folders of large corpora, read in one pass; what is malformed is counted.

A damaged file is a sentence, a damaged row a :class:`DroppedRow`: neither stops deep inside a
reader, and neither may become a wrong row.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.errors import UserError, first_line

MissingImages = Literal["error", "skip"]

MALFORMED = "a malformed line of the table"
NO_FILE = "its image is not on disk"
OUTSIDE = "its image's path leaves the data set's folder"


@dataclass(frozen=True)
class TableFile:
    """A file of a corpus, and what its messages say.

    A name that ends in ``.gz`` is unpacked while reading. ``dataset`` is the name of the data
    class, ``action`` what to do where the file is damaged, as the end of a sentence.
    """

    path: Path
    dataset: str
    action: str

    def error(self, what: str) -> UserError:
        """One sentence: the data set, the file, what is wrong with it and the next action."""
        return UserError(f"{self.dataset}: {self.path} {what}, so {self.action}.")

    def malformed(self, line: int, detail: str) -> DroppedRow:
        """A line that cannot be read, named by file and number."""
        return DroppedRow(
            f"{self.dataset}/{self.path.name}/{line}", MALFORMED, f"line {line}: {detail}"
        )


def read_table(
    source: TableFile, columns: Sequence[str], dropped: list[DroppedRow], delimiter: str = ","
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Read a table with a line of column names, row by row.

    Quotes are read strictly: a quote that is never closed would otherwise swallow the rows below it
    into one cell.

    Args:
        source: The file.
        columns: Columns that must be there; others are handed over too.
        dropped: Takes the lines that cannot be read.
        delimiter: What separates cells.

    Yields:
        The number of the line that a row begins on, counted from 1, and its cells by column.

    Raises:
        UserError: If the file is missing, damaged, no UTF-8 text, cut within a quoted cell, or has
            not these columns.
    """
    with _opened(source) as packed, TextIOWrapper(packed, "utf-8-sig", newline="") as stream:
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
                    raise source.error(f"has no readable line of column names ({error})") from error
                dropped.append(source.malformed(line, f"{error}, to line {rows.line_num}"))
                continue
            except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
                raise _damaged(source, error) from error
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_columns(source, header, columns)
            elif not cells:  # a blank line, usually the last, is no row
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
    """Read the lines of a text that are not blank, separated by line feeds alone.

    Args:
        source: The file.
        dropped: Takes the lines that are no UTF-8 text.

    Yields:
        The line's number, counted from 1, and the line.

    Raises:
        UserError: If the file is missing or damaged.
    """
    try:
        with _opened(source) as stream:
            # Not splitlines(): it also breaks at characters that may stand inside a caption.
            for number, raw in enumerate(stream, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    dropped.append(source.malformed(number, "no UTF-8 text"))
                    continue
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(source, error) from error


def read_json_lines(
    source: TableFile, dropped: list[DroppedRow] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a file of one JSON object a line.

    Args:
        source: The file.
        dropped: Takes the lines that hold no JSON object; None: the first one is an error.

    Yields:
        The number of the line, counted from 1, and its object.

    Raises:
        UserError: If the file is missing or damaged.
    """
    lost: list[DroppedRow] = [] if dropped is None else dropped
    for number, line in read_lines(source, lost):
        try:
            found = json.loads(line)
        # Integers of thousands of digits are a ValueError, brackets without end a RecursionError.
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


def is_text(value: object) -> bool:
    """Whether a value is text that can be written as UTF-8, without NUL characters.

    JSON may hold halves of surrogate pairs, which no tokenizer, hash or file name accepts.
    """
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def inside(path: str) -> str | None:
    """A path in its plain form, with forward slashes; None where it could leave the folder.

    Absolute paths (of Windows too) and ``..`` are refused, wherever they would lead.
    """
    path = path.strip()
    plain = PurePosixPath(path)
    if plain.is_absolute() or ".." in path.replace("\\", "/").split("/") or path[1:2] == ":":
        return None
    return plain.as_posix() if plain.parts else None


class Listing:
    """Which files are there, asked folder by folder: one system call for many images."""

    def __init__(self, kept: int = 256) -> None:
        self._kept, self._names = kept, dict[str, frozenset[str]]()

    def has(self, file: Path) -> bool:
        """Whether the folder of a file lists it."""
        folder, name = os.path.split(file)
        if folder not in self._names:
            if len(self._names) >= self._kept:
                self._names.pop(next(iter(self._names)))
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries)
            except OSError:
                self._names[folder] = frozenset()
        return name in self._names[folder]


def either(folder: Path, name: str) -> Path:
    """``name.gz`` or ``name``, whichever is there; the packed one where neither is."""
    packed, plain = folder / f"{name}.gz", folder / name
    return plain if plain.is_file() and not packed.is_file() else packed


def _opened(source: TableFile) -> IO[bytes]:
    try:
        if source.path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(source.path))
        return source.path.open("rb")
    except OSError as error:
        raise _damaged(source, error) from error


def _damaged(source: TableFile, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return source.error("is not there")
    if isinstance(error, UnicodeDecodeError):
        return source.error("is not UTF-8 text")
    what = getattr(error, "strerror", None) or first_line(error)
    return source.error(f"cannot be read ({what})")


def _check_columns(source: TableFile, header: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if header.count(column) != 1:
            how = "has no column" if column not in header else "has more than one column"
            shown = ", ".join(header)[:200]
            raise source.error(f"{how} {column!r} (it has {shown})")
    if not all(is_text(cell) for cell in header):
        raise source.error("has column names that are no text")
