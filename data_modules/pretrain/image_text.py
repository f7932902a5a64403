"""A user's table of images and texts, with columns named by options."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from amif_lightning.arguments import check_choice
from amif_lightning.data.files import names, tables
from amif_lightning.data.files.user_tables import (
    BAD_CELL,
    BAD_SPLIT,
    SPLITS,
    UserTable,
    check_table,
    several,
    value,
)
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.question_splits import linked_groups
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.signatures import Unpack

#: Path and view of each image of a row; its text, split and group.
Cells = tuple[list[tuple[str, str]], list[str]]

DATASET = "ImageText"
BAD_VIEWS = "its numbers of views and images differ"
DISAGREE = "rows of one study differ in text, split or group"


class ImageText(StudyDataModule):
    """Studies of a user's CSV, TSV, JSONL or parquet file.

    Rows with the same study id are the views of one study; an empty text, split or group takes the
    value of the study's other rows. Studies that share an image stay together in a hold-out.

    Args:
        root: Folder of the images; image paths are relative to it and must not leave it.
        table: The file, relative to the root: ``.csv`` (commas) or ``.tsv`` (tabs) with a header,
            or ``.jsonl`` (one object per line), each also packed (``.gz``), or ``.parquet``.
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
        columns = (image_column, text_column, view_column, study_column, split_column, group_column)
        by_role = dict(zip(self._COLUMNS, columns, strict=True))
        check_table(table, by_role, ("image", "text"))
        self._table = UserTable(self.root / table, DATASET, by_role)
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
            split = SPLITS.get(word.lower())
            if study in problems or split is None:
                dropped.append(DroppedRow(study_id, problems.get(study, BAD_SPLIT), word))
                continue
            shown_images = tuple(images[study].values())
            rows.append(StudyRow(study_id, split, shown_images, text, group=group))
        shared = [(r.hold_out_group, [i.image_id for i in r.images], r.group) for r in rows]
        groups = linked_groups(shared)
        rows = [replace(r, group=g) if g else r for r, g in zip(rows, groups, strict=True)]
        splits = {
            split: tuple(row for row in rows if row.split == split) for split in get_args(SplitName)
        }
        kept = {split: part for split, part in splits.items() if part}
        absent = {split: f"{self.table} names none" for split in splits if split not in kept}
        return StudyRelease(DATASET, self._table.layout, kept, absent, tuple(dropped))

    def _rows(self, dropped: list[DroppedRow]) -> Iterator[tuple[str, str | Cells]]:
        """Yield the study of each row with its cells, or with the reason why they are unusable."""
        for number, row in self._table.rows(dropped):
            study: object = str(number)
            if self.study_column:
                study = value(row, self.study_column)
            study = collapse(study) if isinstance(study, str) else ""
            if study:
                yield study, self._cells(row)
            else:
                where = f"{DATASET}/{self.table}/{number}"
                dropped.append(DroppedRow(where, BAD_CELL, self._table.place(number)))

    def _cells(self, row: Mapping[str, Any]) -> str | Cells:
        images = several(value(row, self.image_column), self.separator)
        views = several(value(row, self.view_column), self.separator)
        columns = (self.text_column, self.split_column, self.group_column)
        texts = [cell for cell in (value(row, c) for c in columns) if isinstance(cell, str)]
        is_number = not isinstance(row.get(self.text_column, ""), str | None)
        if images is None or views is None or len(texts) < len(columns) or is_number:
            return BAD_CELL
        views = views or [""] * len(images)
        if len(views) != len(images):
            return BAD_VIEWS
        return list(zip(images, views, strict=True)), [collapse(text) for text in texts]
