"""SLAKE: bilingual questions about radiographs, CT and MRI slices (Liu et al., ISBI 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.json_files import check_folder, load_questions, unexpected
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.answers import ListAnswers, list_references
from amif_lightning.data.schema.question_splits import Splits, drop_images, images_of
from amif_lightning.data.schema.questions import (
    AnswerType,
    DroppedRow,
    Release,
    SplitName,
    VQAExample,
    unusable,
)
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

Language = Literal["en", "zh", "all"]

NAME = "SLAKE"
SOURCE = "https://www.med-vqa.com/slake/"
IMAGES = "imgs"

#: The release's name first, then the one that mirrors use.
FILES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train.json",),
    "validation": ("validate.json", "validation.json"),
    "test": ("test.json",),
}

_KEYS = frozenset({"img_name", "question", "answer", "q_lang", "answer_type", "content_type"})
_LANGUAGES = {"en": "English", "zh": "Chinese"}
_ANSWER_TYPES: dict[str, AnswerType] = {"open": "open", "closed": "closed"}
# <folder>/<file> and nothing that leaves the folder of the images.
_IMG_NAME = re.compile(r"([\w-][\w.-]{0,99})/[\w-][\w.-]{0,99}")


class SLAKE(VQADataModule):
    """SLAKE as batches: 4919 / 1053 / 1061 English questions on 450 / 96 / 96 images.

    Args:
        root: Folder with ``train.json``, ``validate.json`` (or ``validation.json``), ``test.json``
            and the images ``imgs/xmlabN/source.jpg``; only the first is required.
        language: ``en``, ``zh`` or ``all``: which questions are used; the others are counted as
            dropped. The two languages split the same images differently (docs/datasets.md).
        list_answers: Whether the order of the parts counts in an answer that is a list:
            ``as_released`` as in published numbers, ``any_order`` as a reader would judge.
        **kwargs: Arguments of :class:`VQADataModule`.

    Raises:
        UserError: If an option is out of range or unknown.
    """

    def __init__(
        self,
        root: str,
        language: Language = "en",
        list_answers: ListAnswers = "as_released",
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("language", language, Language)
        check_choice("list_answers", list_answers, ListAnswers)
        self.language: Language = language
        self.list_answers: ListAnswers = list_answers

    def read_release(self) -> Release:
        """Read all rows of the release under ``root``; no images are opened."""
        return read_slake(self.root, self.language, self.list_answers)

    @cached_property
    def splits(self) -> Splits:
        """As in the base; under ``clean``, both languages train on no image that either one tests.

        Training rows ask the test questions in the other language, and nothing pairs the two.
        """
        splits = super().splits
        if self.language != "all" or self.protocol != "clean":
            return splits
        train, dropped = drop_images(splits.train, images_of(splits.test), "shows a test image")
        return replace(splits, train=train, dropped=(*splits.dropped, *dropped))

    def file_of(self, row: VQAExample) -> Path:
        """Where the image lies; mirrors spell its ending once (``.jpg``) or twice."""
        released = super().file_of(row)
        name = released.name
        other = name.removesuffix(".jpg") if name.endswith(".jpg.jpg") else f"{name}.jpg"
        for path in (released, released.with_name(other)):
            if path.is_file():
                return path
        return released

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with the language and how lists are compared, which decide rows too."""
        chosen = {"language": self.language, "list_answers": self.list_answers}
        return super().selection() | chosen


def read_slake(
    root: Path | str, language: Language = "en", list_answers: ListAnswers = "as_released"
) -> Release:
    """Read SLAKE's json files; see :class:`SLAKE` for the arguments.

    An image's identity is its folder (``xmlab7``), ``question_type`` is the release's
    ``content_type`` and ``answer_type`` its own.

    Raises:
        UserError: The folder or the training file is missing, a file is not valid JSON, or it is
            not the expected release.
    """
    root = Path(root)
    check_folder(NAME, root, SOURCE)
    splits: dict[SplitName, tuple[VQAExample, ...]] = {}
    absent: dict[str, str] = {}
    dropped: list[DroppedRow] = []
    for split, names in FILES.items():
        path = next((root / name for name in names if (root / name).is_file()), None)
        if path is None:
            if split == "train":
                raise UserError(
                    f"SLAKE: {root / names[0]} is not there, so download the data set from "
                    f"{SOURCE} into {root}."
                )
            absent[split] = f"no file {' or '.join(names)} is in {root}"
            continue
        rows, bad = _read_file(path, split, language, list_answers)
        dropped += bad
        if rows or split == "train":
            splits[split] = rows
        else:
            absent[split] = f"{path.name} holds no question of language '{language}'"
    if sentence := _missing_images(root):
        absent["images"] = sentence
    notes: tuple[str, ...] = ()
    if language == "all":
        notes = (
            "The English and the Chinese questions split the same images differently: released "
            "training rows ask about test images, often the same question in the other language.",
        )
    elif language == "zh":
        notes = ("Chinese questions: the question-only baseline looks up whole questions only.",)
    if list_answers == "any_order":
        notes += (
            "list_answers any_order: a list of answers counts in every order, so scores cannot be "
            "compared with published ones, which keep the released order.",
        )
    return Release(NAME, "release", splits, absent, tuple(dropped), notes)


def _read_file(
    path: Path, split: SplitName, language: Language, list_answers: ListAnswers
) -> tuple[tuple[VQAExample, ...], list[DroppedRow]]:
    rows: list[VQAExample] = []
    dropped: list[DroppedRow] = []
    for number, item in enumerate(load_questions(NAME, path, _KEYS, SOURCE)):
        question_id = f"{NAME}/{split}/{number}"
        image_key, answer_type = _check(path, number, item)
        if language not in ("all", item["q_lang"]):
            reason = f"{_LANGUAGES[item['q_lang']]} question, left out by language '{language}'"
            dropped.append(DroppedRow(question_id, reason, path.name, by_choice=True))
            continue
        answer = item["answer"]
        references = list_references(answer, list_answers) if isinstance(answer, str) else ()
        if bad := unusable(question_id, item["question"], references, path.name):
            dropped.append(bad)
            continue
        rows.append(
            VQAExample(
                question_id=question_id,
                qid=str(item.get("qid", "")),
                split=split,
                image_key=image_key,
                image=f"{IMAGES}/{item['img_name']}",
                question=collapse(item["question"]),
                answer=collapse(answer),
                references=references,
                answer_type=answer_type,
                question_type=collapse(item["content_type"]).lower(),
            )
        )
    return tuple(rows), dropped


def _check(path: Path, number: int, item: Mapping[str, Any]) -> tuple[str, AnswerType]:
    """Image id and answer type of a question, or the error that says what is wrong with it."""
    for key in ("img_name", "question", "q_lang", "answer_type", "content_type"):
        if not isinstance(item[key], str):
            raise unexpected(NAME, path, f"{key} of question {number} is not text", SOURCE)
    found = _IMG_NAME.fullmatch(item["img_name"])
    answer_type = _ANSWER_TYPES.get(item["answer_type"].strip().lower())
    if item["q_lang"] not in _LANGUAGES:
        wrong = "q_lang"
    elif not found:
        wrong = "img_name"
    elif answer_type is None:
        wrong = "answer_type"
    else:
        return found[1], answer_type
    raise unexpected(NAME, path, f"question {number} has {wrong} {item[wrong]!r}", SOURCE)


def _missing_images(root: Path) -> str:
    if (root / IMAGES).is_dir():
        return ""
    if (root / f"{IMAGES}.zip").is_file():
        return (
            f"{IMAGES}.zip is not unpacked: unzip it in {root}, or run `python -m amif_lightning "
            f"prepare data --data {NAME} --data.root {root} --download`"
        )
    return f"{IMAGES} is not in {root}, fetch the images from {SOURCE}"
