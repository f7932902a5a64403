"""A user's table of images, questions and answers, with columns named by options."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, get_args

from amif_lightning.arguments import check_choice
from amif_lightning.data.audit.questions import Audit
from amif_lightning.data.files import names, tables
from amif_lightning.data.files.user_tables import (
    BAD_CELL,
    BAD_SPLIT,
    SPLITS,
    UserTable,
    check_table,
    several,
)
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.question_splits import Splits, hold_out_groups, linked_groups
from amif_lightning.data.schema.questions import (
    AnswerType,
    DroppedRow,
    Release,
    SplitName,
    VQAExample,
)
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

NO_IMAGE = "the row names no image"

_ANSWER_TYPES: Mapping[str, AnswerType] = {
    **{"": "", "closed": "closed", "open": "open"},
    **{"yes/no": "closed"},  # of PathVQA and others
}


class QuestionTable(VQADataModule):
    """Questions of a user's CSV, TSV, JSONL or parquet file, or of an image folder of the hub.

    A table without answers serves ``predict`` alone: all of its rows are asked.

    Args:
        root: Folder of the images; image paths are relative to it and must not leave it.
        name: The data set's name in ids, messages and records: letters, digits, ``_`` and ``-``.
        table: The file, relative to the root: ``.csv`` (commas) or ``.tsv`` (tabs) with a header,
            or ``.jsonl`` (one object per line), each also packed (``.gz``), or ``.parquet``. Where
            it is not in the root but in folders named train, validation or test (the hub's image
            folders with ``metadata.jsonl``), it is read from each. They are the splits, and image
            paths are relative to them.
        image_column: Column of image paths (in the hub's image folders ``file_name``).
        question_column: Column of questions.
        answer_column: Column of answers; empty: ``predict`` only.
        split_column: Column with train, validation or test; empty: test and validation are held
            out by group or image.
        group_column: Column of groups to keep in one split, such as patients; empty: images.
        answer_type_column: Column with closed (or yes/no) or open; empty: unknown.
        question_type_column: Column of question types, which are scored apart; empty: none.
        id_column: Column of distinct ids; empty: the number of the line (parquet: row).
        separator: Separator of several correct answers in a cell, the usual one first; empty: one
            answer per cell. A JSON list also holds several.
        missing_images: ``error``: a missing image is an error at the start; ``skip``: rows with
            missing images are omitted and counted.
        test_fraction: Share of the groups (or images) to hold out as the test set if the table has
            no splits, the same for every ``split_seed``; 0: none.
        **kwargs: Arguments of :class:`VQADataModule`.
    """

    name: str  # Lightning's is optional
    _COLUMNS = ("image", "question", "answer", "split", "group")
    _MORE = ("answer_type", "question_type", "id")
    row_options = (
        *VQADataModule.row_options,
        *(f"{role}_column" for role in (*_COLUMNS, *_MORE)),
        *("table", "separator", "missing_images", "test_fraction"),
    )

    def __init__(
        self,
        root: str = "data/my_data",
        name: str = "my_data",
        table: str = "table.csv",
        image_column: str = "image",
        question_column: str = "question",
        answer_column: str = "answer",
        split_column: str = "",
        group_column: str = "",
        answer_type_column: str = "",
        question_type_column: str = "",
        id_column: str = "",
        separator: str = "",
        missing_images: tables.MissingImages = "error",
        test_fraction: float = 0.2,
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("missing_images", missing_images, tables.MissingImages)
        if not re.fullmatch(r"[\w-]+", name):
            raise UserError(
                f"data.init_args.name is {name!r}: name the data set in letters, digits, _ and -."
            )
        if not 0 <= test_fraction < 1:
            raise UserError(
                f"data.init_args.test_fraction is {test_fraction}: give 0 or more and less than 1."
            )
        if split_column and not answer_column:
            raise UserError(
                "data.init_args.split_column has no use without an answer_column, because all rows "
                "are asked: leave it out."
            )
        self.image_column, self.question_column = image_column, question_column
        self.answer_column, self.split_column = answer_column, split_column
        self.group_column, self.id_column = group_column, id_column
        self.answer_type_column, self.question_type_column = (
            answer_type_column,
            question_type_column,
        )
        self._columns = {
            role: getattr(self, f"{role}_column") for role in (*self._COLUMNS, *self._MORE)
        }
        check_table(table, self._columns, ("image", "question"))
        self.name, self.table, self.separator = name, table, separator
        self.missing_images, self.test_fraction = missing_images, test_fraction

    def read_release(self) -> Release[VQAExample]:
        """Read the table in one pass without opening images.

        Raises:
            UserError: If the table is missing or damaged, lacks a column, has an id twice, an
                unknown answer type or no usable training row, or names images that are missing.
        """
        dropped: list[DroppedRow] = []
        rows: list[VQAExample] = []
        folders = self._folders()
        for folder in folders:
            table = UserTable(self.root / folder / self.table, self.name, self._columns)
            rows += self._rows(table, folder, dropped)
        if self.group_column:
            linked = linked_groups([(r.hold_out_group, [r.image_key], r.group) for r in rows])
            rows = [replace(r, group=g) if g else r for r, g in zip(rows, linked, strict=True)]
        notes: list[str] = []
        if self.answer_column and not self.split_column and folders == [""]:
            rows = self._hold_out_test(rows, notes)
        splits: dict[SplitName, tuple[VQAExample, ...]] = {
            split: tuple(row for row in rows if row.split == split) for split in get_args(SplitName)
        }
        needed: SplitName = "train" if self.answer_column else "test"
        if not splits[needed]:
            counts = Counter(row.reason for row in dropped)
            first = {row.reason: row.detail for row in reversed(dropped)}
            why = "; ".join(f"{n} rows: {r}, first in {first[r]}" for r, n in counts.items())
            raise table.source.error(f"has no usable {needed} row ({why or 'it has none'})")
        answers = {row.references[0] for row in splits["train"]}
        if len(answers) == 1:
            notes.append(f"every training answer is {answers.pop()!r}, so nothing can be learnt")
        kept = {split: part for split, part in splits.items() if part}
        absent: dict[str, str] = {
            split: f"{self.table} has no such row" for split in splits if split not in kept
        }
        return Release(self.name, table.layout, kept, absent, tuple(dropped), tuple(notes))

    def _folders(self) -> list[str]:
        """Return the folders of the table: the root, or those named after splits."""
        if not (self.root / self.table).is_file():
            there = [word for word in SPLITS if word and (self.root / word / self.table).is_file()]
            if there and (self.split_column or not self.answer_column):
                raise UserError(
                    f"{self.name}: {self.table} is in the folders {', '.join(there)} of {self.root}"
                    ", which are its splits: leave split_column out and name the answer_column, or "
                    "give one of the folders as --data.init_args.root."
                )
            return there or [""]
        return [""]

    def _rows(
        self, table: UserTable, folder: str, dropped: list[DroppedRow]
    ) -> Iterator[VQAExample]:
        """Yield the usable rows of a table, and append the others to ``dropped``."""
        listing = tables.Listing()
        places: dict[str, str] = {}  # by id
        missing: list[str] = []
        for number, cells in table.rows(dropped):
            place = table.place(number)
            row = self._row(table, folder, number, table.cells(cells))
            if isinstance(row, DroppedRow):
                dropped.append(row)
                continue
            if row.qid:
                if row.qid in places:
                    first = places[row.qid]
                    raise table.source.error(f"has the id {row.qid!r} in {first} and in {place}")
                places[row.qid] = place
            # Reduced copies, which replace the images, are checked by the setup.
            if self.resized is None and not listing.has(self.root / row.image):
                missing.append(f"{row.image!r} in {place}")
                dropped.append(DroppedRow(row.question_id, tables.NO_FILE, place))
                continue
            yield row
        if missing and self.missing_images == "error":
            raise UserError(
                f"{self.name}: {table.path} names the image {missing[0]}, which is not in "
                f"{self.root} ({len(missing)} rows name missing images), so add them, or omit "
                "these rows with --data.init_args.missing_images skip."
            )

    def _row(
        self, table: UserTable, folder: str, number: int, cells: Mapping[str, Any]
    ) -> VQAExample | DroppedRow:
        """Return a row of the table, or why it is dropped; a UserError for a bad id or type."""
        place = table.place(number)
        text = {role: collapse(cell) for role, cell in cells.items() if isinstance(cell, str)}
        name = text.get("id") or str(number)
        split = SPLITS.get((folder or text.get("split", "?")).lower())
        if not self.answer_column:
            split = "test"
        identity = f"{self.name}/{split or self.table}/{name}"
        answers = several(cells["answer"], self.separator)
        if answers is None or text.keys() | {"answer"} < cells.keys():
            return DroppedRow(identity, BAD_CELL, place)
        if split is None:
            return DroppedRow(identity, BAD_SPLIT, f"{place}: {text['split']}")
        if self.id_column and not text["id"]:
            raise table.source.error(f"has no id in {place}")
        answer_type = _ANSWER_TYPES.get(text["answer_type"].lower())
        if answer_type is None:
            what = f"has the answer type {text['answer_type']!r} in {place}, not closed or open"
            raise table.source.error(what)
        if not text["image"]:
            return DroppedRow(identity, NO_IMAGE, place)
        image = names.inside(f"{folder}/{text['image']}" if folder else text["image"])
        if image is None:
            return DroppedRow(identity, names.OUTSIDE, f"{place}: {text['image'][:200]}")
        references = tuple(dict.fromkeys(filter(None, map(normalise, answers))))
        if not self.answer_column:
            references = ("",)  # equal to no candidate; `predict` does not use it
        usable = references if self.answer_column else (name,)
        if bad := DroppedRow.if_unusable(identity, text["question"], usable, place):
            return bad
        return VQAExample(
            question_id=identity,
            qid=text["id"],
            split=split,
            image_key=image,
            image=image,
            question=text["question"],
            answer=collapse(", ".join(answers)),
            references=references,
            answer_type=answer_type,
            question_type=text["question_type"].lower(),
            group=text["group"],
        )

    def _hold_out_test(self, rows: list[VQAExample], notes: list[str]) -> list[VQAExample]:
        """Give a share of the groups to the test set; the same groups for every ``split_seed``."""
        groups = {row.hold_out_group for row in rows}
        what = "groups" if self.group_column else "images"
        if not self.test_fraction or not rows:
            return rows
        if len(groups) < 3:
            raise UserError(
                f"{self.name}: the usable rows of {self.root / self.table} have {len(groups)} "
                f"{what}, but training, validation and test need at least one each: add images, or "
                "name a split_column."
            )
        chosen = hold_out_groups(groups, 0, self.test_fraction)
        notes.append(f"test: {len(chosen)} of {len(groups)} {what} are held out from the table")
        return [
            replace(row, split="test", question_id=row.question_id.replace("/train/", "/test/", 1))
            if row.hold_out_group in chosen
            else row
            for row in rows
        ]

    # ---- a table without answers --------------------------------------------------------------

    def selection(self) -> dict[str, str | int | float | bool]:
        """Return the options that select rows; none without answers, where nothing is scored."""
        return super().selection() if self.answer_column else {}

    @cached_property
    def splits(self) -> Splits:
        """The questions under the protocol; all of them are the test split without answers."""
        if self.answer_column:
            return super().splits
        release = self.release
        return Splits(
            dataset=release.dataset,
            layout=release.layout,
            protocol=self.protocol,
            test_split="test",
            released_train=(),
            train=(),
            validation=(),
            test=release.splits["test"],
            dropped=release.dropped,
            held_out_from_train=False,
            candidates=(),
            answer_rows=(),
            absent=dict(release.absent),
            notes=release.notes,
        )

    def setup(self, stage: str) -> None:
        """Read the table; a UserError for a table without answers unless in ``predict``."""
        if stage != "predict":
            self._check_answers()
        super().setup(stage)

    def audit(self, check_images: bool = True) -> Audit:
        """Count and check the questions; a UserError for a table without answers."""
        self._check_answers()
        return super().audit(check_images)

    def _check_answers(self) -> None:
        if not self.answer_column:
            raise UserError(
                f"{self.name}: data.init_args.answer_column is empty, and a table without answers "
                "serves `predict` alone: name the column of answers."
            )
