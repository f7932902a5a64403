"""A user's table of images and texts, with columns named by options."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, get_args

from amif_lightning.arguments import check_choice
from amif_lightning.data.files import names, tables
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

#: Path and view of each image of a row; its text, split and group.
Cells = tuple[list[tuple[str, str]], list[str]]

DATASET = "ImageText"
BAD_CELL = "a cell is missing or of the wrong kind"
BAD_SPLIT = "its split is not train, validation (valid, val, validate, dev) or test"
BAD_VIEWS = "its numbers of views and images differ"
DISAGREE = "rows of one study differ in text, split or group"

_SPLITS: Mapping[str, SplitName] = {
    **dict.fromkeys(("", "train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "validate", "dev"), "validation"),
    "test": "test",
}
_SUFFIXES = (".csv", ".tsv", ".jsonl")


class ImageText(StudyDataModule):
    """Studies of a user's CSV, TSV or JSONL file.

    Rows with the same study id are the views of one study; an empty text, split or group takes the
    value of the study's other rows. Studies that share an image stay together in a hold-out.

    Args:
        root: Folder of the images; image paths are relative to it and must not leave it.
        table: The file, relative to the root: ``.csv`` (commas) or ``.tsv`` (tabs) with a header,
            or ``.jsonl`` (one object per line), each also packed (``.gz``).
        image_column: Column of image paths; a cell has one path, a JSON list or, with
            ``separator``, several.
        text_column: Column of the report or caption.
        view_column: Column of projections (``PA``, ``lateral`` ...), one per image; empty: unknown.
        study_column: Column of study ids; empty: every row is a study.
        split_column: Column with train, validation or test; empty: validation is held out from all
            rows.
        group_column: Column of groups to keep in one split, such as patients; empty: no groups.
        separator: Separator of paths, and of views, within a cell; empty: one path per cell.
        missing_images: ``error``: files are not checked at the start, and a missing image stops
            the run; ``skip``: missing images are omitted and counted.
        **kwargs: Arguments of :class:`StudyDataModule`.
    """

    _COLUMNS = ("image", "text", "view", "study", "split", "group")
    row_options = (
        *StudyDataModule.row_options,
        *(f"{name}_column" for name in _COLUMNS),
        *("table", "separator", "missing_images"),
    )

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
        separator: str = "",
        missing_images: tables.MissingImages = "error",
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("missing_images", missing_images, tables.MissingImages)
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
        self.table, self.separator, self.missing_images = table, separator, missing_images
        self.image_column, self.text_column, self.view_column = columns[:3]
        self.study_column, self.split_column, self.group_column = columns[3:]

    def read_release(self) -> StudyRelease:
        """Read the table in one pass without opening images.

        Raises:
            UserError: If the table is missing or damaged or lacks a column.
        """
        dropped: list[DroppedRow] = []
        images: dict[str, dict[str, StudyImage]] = defaultdict(dict)
        texts: dict[str, list[str]] = {}  # text, split and group
        problems: dict[str, str] = {}
        listing = tables.Listing() if self.missing_images == "skip" else None
        for study, cells in self._rows(dropped):
            known = texts.setdefault(study, [""] * 3)
            if isinstance(cells, str):
                # One unusable row drops its study, which would be incomplete without it.
                problems.setdefault(study, cells)
                continue
            shown, found = cells
            if any(old and new and old != new for old, new in zip(known, found, strict=True)):
                problems.setdefault(study, DISAGREE)
            texts[study] = [old or new for old, new in zip(known, found, strict=True)]
            for path, view in shown:
                plain = names.inside(path)
                if plain is None:
                    dropped.append(DroppedRow(f"{DATASET}/{study}", names.OUTSIDE, path))
                elif listing is not None and not listing.has(self.root / plain):
                    dropped.append(DroppedRow(f"{DATASET}/{plain}", tables.NO_FILE))
                else:
                    image = StudyImage(f"{DATASET}/{plain}", self.root / plain, view)
                    images[study].setdefault(plain, image)
        rows: list[StudyRow] = []
        for study, (text, word, group) in texts.items():
            study_id = f"{DATASET}/{study}"
            split = _SPLITS.get(word.lower())
            if study in problems or split is None:
                dropped.append(DroppedRow(study_id, problems.get(study, BAD_SPLIT), word))
                continue
            shown_images = tuple(images[study].values())
            rows.append(StudyRow(study_id, split, shown_images, text, group=group))
        rows = stay_together(rows)
        splits = {
            split: tuple(row for row in rows if row.split == split) for split in get_args(SplitName)
        }
        kept = {split: part for split, part in splits.items() if part}
        absent = {split: f"{self.table} names none" for split in splits if split not in kept}
        layout = self.table.removesuffix(".gz").rpartition(".")[2]
        return StudyRelease(DATASET, layout, kept, absent, tuple(dropped))

    def _rows(self, dropped: list[DroppedRow]) -> Iterator[tuple[str, str | Cells]]:
        """Yield the study of each row with its cells, or with the reason why they are unusable."""
        action = "check the file, or give another one as --data.init_args.table"
        source = tables.TableFile(self.root / self.table, DATASET, action)
        kind = self.table.removesuffix(".gz")
        rows: Iterator[tuple[int, Mapping[str, Any]]]
        if kind.endswith(".jsonl"):
            rows = tables.read_json_lines(source, dropped)
        else:
            columns = filter(None, (getattr(self, f"{name}_column") for name in self._COLUMNS))
            delimiter = "\t" if kind.endswith(".tsv") else ","
            rows = tables.read_table(source, list(columns), dropped, delimiter)
        for number, row in rows:
            study: object = str(number)
            if self.study_column:
                study = _value(row, self.study_column)
            study = collapse(study) if isinstance(study, str) else ""
            if study:
                yield study, self._cells(row)
            else:
                where = f"{DATASET}/{self.table}/{number}"
                dropped.append(DroppedRow(where, BAD_CELL, f"line {number}"))

    def _cells(self, row: Mapping[str, Any]) -> str | Cells:
        images = self._several(_value(row, self.image_column))
        views = self._several(_value(row, self.view_column))
        columns = (self.text_column, self.split_column, self.group_column)
        texts = [value for value in (_value(row, c) for c in columns) if isinstance(value, str)]
        is_number = not isinstance(row.get(self.text_column, ""), str | None)
        if images is None or views is None or len(texts) < len(columns) or is_number:
            return BAD_CELL
        views = views or [""] * len(images)
        if len(views) != len(images):
            return BAD_VIEWS
        return list(zip(images, views, strict=True)), [collapse(text) for text in texts]

    def _several(self, value: object) -> list[str] | None:
        """Return the entries of a cell; None if one is not text."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            with suppress(ValueError, RecursionError):  # a name may begin with a bracket
                value = json.loads(value)
        if isinstance(value, str):
            parts = value.split(self.separator) if self.separator else [value]
            return [part.strip() for part in parts if part.strip()]
        if isinstance(value, list) and all(names.is_text(part) and part.strip() for part in value):
            return [part.strip() for part in value]
        return None


def stay_together(rows: Sequence[StudyRow]) -> list[StudyRow]:
    """Assign one group to studies that share an image or a group, directly or through others."""
    from scipy.cluster.hierarchy import DisjointSet  # slow to import, needed here only

    linked = DisjointSet()
    for row in rows:
        linked.add(row.study_id)
        names = [f"image {image.image_id}" for image in row.images]
        for name in [*names, *([f"group {row.group}"] if row.group else [])]:
            linked.add(name)
            linked.merge(row.study_id, name)
    sizes = Counter(linked[row.study_id] for row in rows)
    groups: dict[str, str] = {}
    result = []
    for row in rows:
        first = linked[row.study_id]
        group = groups.setdefault(first, row.hold_out_group)
        result.append(row if sizes[first] == 1 else replace(row, group=group))
    return result


def _value(row: Mapping[str, Any], column: str) -> object:
    """Return a cell as text (also integers) or list; empty for null or no column, else False."""
    value = row.get(column) if column else ""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, list) or names.is_text(value) else False
