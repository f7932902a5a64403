"""Any table of images and texts: the columns are named by options."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.tables import (
    NO_FILE,
    OUTSIDE,
    Listing,
    MissingImages,
    TableFile,
    inside,
    is_text,
    read_json_lines,
    read_table,
)
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

DATASET = "ImageText"
BAD_CELL = "a cell is missing or of the wrong kind"
BAD_SPLIT = "its split is none of train, validation (valid, val, validate, dev) and test"
BAD_VIEWS = "it has another number of views than of images"
DISAGREE = "rows of one study differ in text, split, group or finding"

_SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    **dict.fromkeys(("validation", "valid", "val", "validate", "dev"), "validation"),
    "test": "test",
}
_SUFFIXES = (".csv", ".tsv", ".jsonl")


@dataclass(frozen=True, slots=True)
class _Cells:
    """One row as its cells say it; ``problem`` names why it cannot be used."""

    study: str
    images: Sequence[str] = ()
    views: Sequence[str] = ()
    texts: tuple[str, ...] = ()  # text, split, group, finding
    problem: str = ""


@dataclass(slots=True)
class _Study:
    """What the rows of one study have collapsed so far."""

    images: dict[str, StudyImage] = field(default_factory=dict)
    texts: list[str] = field(default_factory=lambda: [""] * 4)
    problem: str = ""

    def add(self, texts: Sequence[str]) -> None:
        """Take over what was not collapsed yet; what contradicts it spoils the study."""
        for place, value in enumerate(texts):
            if value and self.texts[place] and value != self.texts[place]:
                self.problem = self.problem or DISAGREE
            self.texts[place] = self.texts[place] or value


class ImageText(StudyDataModule):
    """Studies of a CSV, TSV or JSONL file of one's own.

    Paths of images are relative to the root and never leave it. Rows with one study id are the
    views of one study; an empty text, split, group or finding takes the value of the study's other
    rows. Studies that share an image stay together when validation is held out.

    Args:
        root: Folder of the images.
        table: The file, relative to the root: ``.csv`` (commas), ``.tsv`` (tabs) or ``.jsonl`` (an
            object a line), each also packed (``.gz``). The first two begin with column names.
        image_column: Column of the image's path. A cell may hold several: a JSON list, or
            see ``separator``.
        text_column: Column of the report or caption.
        view_column: Column of the projection (``PA``, ``lateral`` ...), as many as images; empty:
            views are unknown.
        study_column: Column of the study's id; empty: every row is a study.
        split_column: Column with train, validation or test; empty: all rows train, and validation
            is held out.
        group_column: Column of what stays together, such as the patient; empty: nothing does.
        finding_column: Column of what equal studies have in common, for retrieval; empty: none.
        separator: What separates paths, and views, within one cell; empty: nothing does.
        missing_images: ``error``: no file is looked for at the start, and an image that is not
            there stops the run; ``skip``: they are left out and counted.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If a word is unknown, a needed column has no name, or one column has two roles.
    """

    def __init__(
        self,
        root: str = "data/image_text",
        table: str = "table.csv",
        image_column: str = "image",
        text_column: str = "text",
        view_column: str = "",
        study_column: str = "",
        split_column: str = "",
        group_column: str = "",
        finding_column: str = "",
        separator: str = "",
        missing_images: MissingImages = "error",
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("missing_images", missing_images, MissingImages)
        for name, column in (("image_column", image_column), ("text_column", text_column)):
            if not column:
                raise UserError(f"data.init_args.{name} is empty: give the name of a column.")
        columns = (image_column, text_column, view_column, study_column, split_column, group_column)
        named = [column for column in columns if column]
        if twice := next((column for column in named if named.count(column) > 1), ""):
            raise UserError(
                f"data.init_args: the column {twice!r} is given twice: give each role its own."
            )
        if not table.removesuffix(".gz").endswith(_SUFFIXES):
            raise UserError(
                f"data.init_args.table is {table!r}: give a file that ends in "
                f"{', '.join(_SUFFIXES)}, or one of them with .gz."
            )
        self.table, self.separator = table, separator
        self.image_column, self.text_column, self.view_column = columns[:3]
        self.study_column, self.split_column, self.group_column = columns[3:]
        self.finding_column, self.missing_images = finding_column, missing_images

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with the table, its columns and how they are read."""
        names = ("image", "text", "view", "study", "split", "group")
        kept = (*(f"{name}_column" for name in names), "table", "separator", "missing_images")
        return super().selection() | {name: getattr(self, name) for name in kept}

    def read_release(self) -> StudyRelease:
        """Read the table in one pass; no image is opened.

        Raises:
            UserError: If the table is missing or damaged or lacks a column.
        """
        dropped: list[DroppedRow] = []
        studies: dict[str, _Study] = {}
        listing = Listing() if self.missing_images == "skip" else None
        for row in self._rows(dropped):
            study = studies.setdefault(row.study, _Study())
            # One bad row spoils its study: what is left of it could be another one.
            study.problem = study.problem or row.problem
            study.add(row.texts)
            for path, view in zip(row.images, row.views, strict=True):
                plain = inside(path)
                if plain is None:
                    dropped.append(DroppedRow(f"{DATASET}/{row.study}", OUTSIDE, path))
                elif listing is not None and not listing.has(self.root / plain):
                    dropped.append(DroppedRow(f"{DATASET}/{plain}", NO_FILE))
                else:
                    image = StudyImage(f"{DATASET}/{plain}", self.root / plain, view)
                    study.images.setdefault(image.image_id, image)
        rows: list[StudyRow] = []
        for name, study in studies.items():
            text, word, group, finding = study.texts
            split = _SPLITS.get(word.lower() or "train")
            if study.problem or split is None:
                dropped.append(DroppedRow(f"{DATASET}/{name}", study.problem or BAD_SPLIT, word))
                continue
            images = tuple(study.images.values())
            rows.append(StudyRow(f"{DATASET}/{name}", split, images, text, finding, group=group))
        rows = stay_together(rows)
        found = {
            split: tuple(row for row in rows if row.split == split) for split in get_args(SplitName)
        }
        return StudyRelease(
            dataset=DATASET,
            layout=Path(self.table.removesuffix(".gz")).suffix.removeprefix("."),
            splits={split: part for split, part in found.items() if part},
            absent={split: f"{self.table} names none" for split in found if not found[split]},
            dropped=tuple(dropped),
        )

    def _rows(self, dropped: list[DroppedRow]) -> Iterator[_Cells]:
        action = "check the file, or give another one as --data.init_args.table"
        source = TableFile(self.root / self.table, DATASET, action)
        kind = self.table.removesuffix(".gz")
        needed = [column for column in self._columns() if column]
        rows: Iterator[tuple[int, Mapping[str, Any]]]
        if kind.endswith(".jsonl"):
            rows = read_json_lines(source, dropped)
        else:
            delimiter = "\t" if kind.endswith(".tsv") else ","
            rows = read_table(source, needed, dropped, delimiter)
        for number, row in rows:
            cells = self._cells(number, row)
            if cells.study:
                yield cells
            else:
                where = f"{DATASET}/{self.table}/{number}"
                dropped.append(DroppedRow(where, cells.problem, f"line {number}"))

    def _columns(self) -> tuple[str, ...]:
        named = (self.text_column, self.split_column, self.group_column, self.finding_column)
        return self.image_column, self.view_column, self.study_column, *named

    def _cells(self, number: int, row: Mapping[str, Any]) -> _Cells:
        image, view, study, *texts = (_value(row, column) for column in self._columns())
        name = collapse(study) if isinstance(study, str) and self.study_column else str(number)
        if self.study_column and not (isinstance(study, str) and name):
            return _Cells("", problem=BAD_CELL)
        # Of an image's path only a text or a list is a path; a number is none.
        images, views = self._several(image), self._several(view)
        collapsed = [collapse(value) for value in texts if isinstance(value, str)]
        text = row.get(self.text_column, "")
        if (
            images is None
            or views is None
            or len(collapsed) < 4
            or not isinstance(text, str | None)
        ):
            return _Cells(name, problem=BAD_CELL)
        views = views or [""] * len(images)
        if len(views) != len(images):
            return _Cells(name, problem=BAD_VIEWS)
        return _Cells(name, images, views, tuple(collapsed))

    def _several(self, value: object) -> list[str] | None:
        """The entries of a cell; None where it holds anything but texts."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            with suppress(ValueError, RecursionError):  # a name may begin with a bracket
                value = json.loads(value)
        if isinstance(value, str):
            parts = value.split(self.separator) if self.separator else [value]
            return [part.strip() for part in parts if part.strip()]
        if isinstance(value, list) and all(is_text(part) and part.strip() for part in value):
            return [part.strip() for part in value]
        return None


def stay_together(rows: Sequence[StudyRow]) -> list[StudyRow]:
    """Give studies that share an image one group, and those of their groups with them."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for number, row in enumerate(rows):
        mine = top(f"row {number}")
        keys = [f"image {image.image_id}" for image in row.images]
        for key in [*keys, *([f"group {row.group}"] if row.group else [])]:
            above[top(key)] = mine
    sizes = Counter(top(f"row {number}") for number in range(len(rows)))
    names: dict[str, str] = {}
    result: list[StudyRow] = []
    for number, row in enumerate(rows):
        root = top(f"row {number}")
        name = names.setdefault(root, row.hold_out_group)
        result.append(row if sizes[root] == 1 else replace(row, group=name))
    return result


def _value(row: Mapping[str, Any], column: str) -> object:
    """A cell as text or list; whole numbers are text, null and what no column names are empty."""
    value = row.get(column) if column else ""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, list) or is_text(value) else False
