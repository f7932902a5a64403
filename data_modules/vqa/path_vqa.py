"""PathVQA: questions about pathology images of textbooks (He et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.json_files import check_folder, read_json
from amif_lightning.data.files.parquet import find_parquet
from amif_lightning.data.files.tables import is_text
from amif_lightning.data.loading.hub_module import HubQuestions
from amif_lightning.data.loading.options import HubOptions
from amif_lightning.data.preprocessing.normalization import collapse, is_yes_no, normalise
from amif_lightning.data.schema.questions import (
    AnswerType,
    DroppedRow,
    Release,
    SplitName,
    VQAExample,
)
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

Layout = Literal["hf", "lxmert"]
LayoutChoice = Literal["auto", "hf", "lxmert"]

NAME = "PathVQA"
SOURCE = "https://huggingface.co/datasets/flaviagiammarino/path-vqa"
#: Names of the splits in file names.
SHORT: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}
DUPLICATE = "an earlier row has the same image, question and answer"
UNUSABLE = "the row has no image, no question or no answer"


class PathVQA(HubQuestions):
    """PathVQA as batches: 19654 / 6259 / 6719 questions without exact duplicates.

    Args:
        root: Folder of the data set, in one of these layouts: ``hf``: the hub's parquet files
            ``data/{train,validation,test}-*.parquet``; ``lxmert``: ``{train,val,test}.json`` or
            ``{train,val,test}_vqa.json`` (in the folder or in ``qas/``), a list of questions with
            ``img_id``, ``sent`` and ``label``, with images in ``images/{train,val,test}/``. The
            pickles of the first release are not read, for they can be made to run code.
        layout: Which of them to read; ``auto``: the first that is there, in this order.
        **kwargs: Arguments of :class:`HubQuestions`.

    Raises:
        UserError: If an option is out of range or unknown.
    """

    def __init__(
        self, root: str, layout: LayoutChoice = "auto", **kwargs: Unpack[HubOptions]
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("layout", layout, LayoutChoice)
        self.layout: LayoutChoice = layout

    @cached_property
    def chosen_layout(self) -> Layout:
        """The layout that is read.

        Raises:
            UserError: If it is not there.
        """
        return choose_layout(self.root, self.layout)

    def reads_parquet(self) -> bool:
        """Whether the parquet files are what is read."""
        return self.chosen_layout == "hf"

    def read_release(self) -> Release:
        """Read all rows of the release under ``root``; no images are opened."""
        if self.parquet is not None:
            splits, dropped = self.parquet.read()
        else:
            splits, dropped = _read_lists(self.root)
        if not splits.get("train"):
            raise UserError(
                f"PathVQA: {self.root} has no training question in layout "
                f"'{self.chosen_layout}', so fetch that split from {SOURCE}."
            )
        absent = {
            split: f"no file of the {split} split is in {self.root}"
            for split in ("validation", "test")
            if split not in splits
        }
        kept: dict[SplitName, tuple[VQAExample, ...]] = {}
        for split, rows in splits.items():
            kept[split], repeated = _distinct(rows)
            dropped += repeated
        return Release(NAME, self.chosen_layout, kept, absent, tuple(dropped))


def choose_layout(root: Path, layout: LayoutChoice = "auto") -> Layout:
    """Which layout of the release a folder holds, checked against what the user asked for.

    Raises:
        UserError: If it is not there, or the folder is missing.
    """
    check_folder("PathVQA", root, SOURCE)
    there: dict[Layout, bool] = {
        "hf": "train" in find_parquet(root),
        "lxmert": _list_file(root, "train") is not None,
    }
    if layout != "auto":
        if there[layout]:
            return layout
        raise UserError(
            f"PathVQA: layout '{layout}' is not in {root}, so fetch it from {SOURCE} or choose "
            "layout 'auto'."
        )
    for name, found in there.items():
        if found:
            return name
    raise UserError(
        f"PathVQA: neither data/train-*.parquet nor train.json is in {root} "
        f"(pickles are not read), so fetch the data set from {SOURCE} into it."
    )


def _list_file(root: Path, split: SplitName) -> Path | None:
    short = SHORT[split]
    for folder in (root, root / "qas"):
        for name in (f"{short}_vqa.json", f"{short}.json"):
            if (folder / name).is_file():
                return folder / name
    return None


def _read_lists(root: Path) -> tuple[dict[SplitName, tuple[VQAExample, ...]], list[DroppedRow]]:
    """The splits of the layout whose files are lists of questions."""
    splits: dict[SplitName, tuple[VQAExample, ...]] = {}
    dropped: list[DroppedRow] = []
    for split in SHORT:
        path = _list_file(root, split)
        if path is None:
            continue
        items = read_json("PathVQA", path, SOURCE)
        if not isinstance(items, list):
            raise UserError(
                f"PathVQA: {path} is not a list of questions, so fetch it from {SOURCE}."
            )
        rows = []
        for number, item in enumerate(items):
            row = _row(item, split, number)
            if row is None:
                dropped.append(DroppedRow(f"{NAME}/{split}/{number}", UNUSABLE, path.name))
            else:
                rows.append(row)
        if not rows:
            raise UserError(
                f"PathVQA: {path} holds no question that can be read, so fetch it from {SOURCE}."
            )
        splits[split] = tuple(rows)
    return splits, dropped


def _row(item: object, split: SplitName, number: int) -> VQAExample | None:
    """One entry as a row; None where it cannot be used."""
    if not isinstance(item, Mapping):
        return None
    image = item.get("img_id", item.get("image"))
    question = item.get("sent", item.get("question"))
    answer = item["answer"] if "answer" in item else _best(item.get("label"))
    if not all(is_text(text) for text in (image, question, answer)):
        return None
    image, question, answer = str(image).strip(), collapse(str(question)), collapse(str(answer))
    # A name is one file in the split's folder, never a way out of it.
    if not image or "/" in image or "\\" in image or image.startswith("."):
        return None
    if not normalise(question) or not normalise(answer):
        return None
    image = image.removesuffix(".jpg")
    return VQAExample(
        question_id=f"{NAME}/{split}/{number}",
        qid=_word(item.get("question_id")),
        split=split,
        image_key=image,
        image=f"images/{SHORT[split]}/{image}.jpg",
        question=question,
        answer=answer,
        references=(normalise(answer),),
        answer_type=_answer_type(item.get("answer_type"), answer),
        question_type=_word(item.get("question_type")).lower(),
    )


def _word(released: object) -> str:
    """A field that only describes the row: text or a number, else nothing."""
    if isinstance(released, int) and not isinstance(released, bool):
        try:
            return str(released)
        except ValueError:  # JSON can hold more digits than Python writes
            return ""
    return collapse(str(released)) if is_text(released) else ""


def _best(label: object) -> object:
    """The answer of the highest score, the first of equal ones."""
    if isinstance(label, str):
        return label
    if isinstance(label, Mapping):
        scored = [
            (key, value)
            for key, value in label.items()
            # A score that is no number equals nothing, itself included, and has no rank.
            if isinstance(value, int | float) and value == value
        ]
        return max(scored, key=lambda pair: pair[1])[0] if scored else None
    return label[0] if isinstance(label, list) and label else None


def _answer_type(released: object, answer: str) -> AnswerType:
    """The release calls closed questions ``yes/no``; without the field the answer decides."""
    if isinstance(released, str) and released.strip():
        return "closed" if released.strip().lower() == "yes/no" else "open"
    return "closed" if is_yes_no(normalise(answer)) else "open"


def _distinct(rows: tuple[VQAExample, ...]) -> tuple[tuple[VQAExample, ...], list[DroppedRow]]:
    seen: set[tuple[str, str, str]] = set()
    kept, repeated = [], []
    for row in rows:
        key = (row.image_key, row.question, row.answer)
        if key in seen:
            repeated.append(DroppedRow(row.question_id, DUPLICATE, row.question, by_choice=True))
        else:
            seen.add(key)
            kept.append(row)
    return tuple(kept), repeated
