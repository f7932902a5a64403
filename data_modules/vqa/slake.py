"""SLAKE: bilingual questions about radiographs, CT and MRI slices (Liu et al., ISBI 2021)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.tables import check_folder, load_questions, unexpected
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.answers import ListAnswers, list_references
from amif_lightning.data.schema.question_splits import Splits, drop_images, images_of
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.signatures import Unpack

Language = Literal["en", "zh", "all"]

NAME = "SLAKE"
SOURCE = "https://www.med-vqa.com/slake/"
IMAGES = "imgs"

#: File names: that of the release, then that of mirrors.
FILES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train.json",),
    "validation": ("validate.json", "validation.json"),
    "test": ("test.json",),
}

_TEXTS = ("img_name", "question", "q_lang", "answer_type", "content_type")
_LANGUAGES = {"en": "English", "zh": "Chinese"}
_ANSWER_TYPES: dict[str, Literal["open", "closed"]] = {"open": "open", "closed": "closed"}
# <folder>/<file>; paths that leave the image folder do not match.
_IMG_NAME = re.compile(r"([\w-][\w.-]{0,99})/[\w-][\w.-]{0,99}")


class SLAKE(VQADataModule):
    """SLAKE: 4919 / 1053 / 1061 English questions on 450 / 96 / 96 images.

    Images are identified by their folder (``xmlab7``); ``question_type`` is the release's
    ``content_type``.

    Args:
        root: Folder with ``train.json``, ``validate.json`` (or ``validation.json``), ``test.json``
            and the images ``imgs/xmlabN/source.jpg``; only the first is required.
        language: Language of the questions: ``en``, ``zh`` or ``all``; others are counted as
            dropped. The two languages split the same images differently (docs/datasets.md).
        list_answers: Order of the parts in answers that are lists: ``as_released``, as in published
            results, or ``any_order``, which accepts every order.
        **kwargs: Arguments of :class:`VQADataModule`.
    """

    row_options = (*VQADataModule.row_options, "language", "list_answers")

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

    def read_release(self) -> Release[VQAExample]:
        """Read all rows of the release without opening images."""
        check_folder(NAME, self.root, SOURCE)
        splits: dict[SplitName, tuple[VQAExample, ...]] = {}
        absent: dict[str, str] = {}
        dropped: list[DroppedRow] = []
        for split, names in FILES.items():
            files = [self.root / name for name in names]
            missing = files[0] if split == "train" else None
            path = next((file for file in files if file.is_file()), missing)
            if path is None:
                absent[split] = f"no file {' or '.join(names)} is in {self.root}"
                continue
            rows = tuple(self._rows(path, split, dropped))
            if rows or split == "train":
                splits[split] = rows
            else:
                absent[split] = f"{path.name} holds no question of language '{self.language}'"
        if not (self.root / IMAGES).is_dir():
            absent["images"] = self._where_images_are()
        return Release(
            NAME, "release", splits, absent, tuple(dropped), tuple(self._variant_notes())
        )

    def _where_images_are(self) -> str:
        if (self.root / f"{IMAGES}.zip").is_file():
            return (
                f"{IMAGES}.zip is not unpacked: unzip it in {self.root}, or run `python -m "
                f"amif_lightning prepare data --data {NAME} --data.root {self.root} --download`"
            )
        return f"{IMAGES} is not in {self.root}, fetch the images from {SOURCE}"

    def _variant_notes(self) -> Iterator[str]:
        if self.language == "all":
            yield (
                "The English and the Chinese questions split the same images differently: released "
                "training rows ask about test images, often the same question in the other "
                "language."
            )
        elif self.language == "zh":
            yield "Chinese questions: the question-only baseline looks up whole questions only."
        if self.list_answers == "any_order":
            yield (
                "list_answers any_order: a list of answers is correct in every order, so scores "
                "are not comparable with published ones, which require the released order."
            )

    def _rows(
        self, path: Path, split: SplitName, dropped: list[DroppedRow]
    ) -> Iterator[VQAExample]:
        """Yield the usable questions of a file; append the others to ``dropped``."""
        items = load_questions(NAME, path, {*_TEXTS, "answer"}, SOURCE)
        for number, item in enumerate(items):
            texts = {key: item[key] for key in _TEXTS}
            if other := next((k for k, text in texts.items() if not isinstance(text, str)), None):
                raise unexpected(NAME, path, f"{other} of question {number} is not text", SOURCE)
            name, language, answer = item["img_name"], item["q_lang"], item["answer"]
            folder = _IMG_NAME.fullmatch(name)
            answer_type = _ANSWER_TYPES.get(item["answer_type"].strip().lower())
            if language not in _LANGUAGES or not folder or not answer_type:
                known = {"q_lang": language in _LANGUAGES, "img_name": folder}
                wrong = next((key for key, good in known.items() if not good), "answer_type")
                what = f"question {number} has {wrong} {item[wrong]!r}"
                raise unexpected(NAME, path, what, SOURCE)
            question_id = f"{NAME}/{split}/{number}"
            if self.language not in ("all", language):
                reason = f"{_LANGUAGES[language]} question, left out by language '{self.language}'"
                dropped.append(DroppedRow(question_id, reason, path.name, by_choice=True))
                continue
            references = (
                list_references(answer, self.list_answers) if isinstance(answer, str) else ()
            )
            if bad := DroppedRow.if_unusable(question_id, item["question"], references, path.name):
                dropped.append(bad)
                continue
            yield VQAExample(
                question_id=question_id,
                qid=str(item.get("qid", "")),
                split=split,
                image_key=folder[1],
                image=f"{IMAGES}/{name}",
                question=collapse(item["question"]),
                answer=collapse(answer),
                references=references,
                answer_type=answer_type,
                question_type=collapse(item["content_type"]).lower(),
            )

    @cached_property
    def splits(self) -> Splits:
        """Exclude test images from training under ``clean`` with ``language: all``."""
        splits = super().splits
        if self.language != "all" or self.protocol == "literature":
            return splits
        # Training rows of one language ask test questions of the other. The release does not pair
        # the two, so restated questions cannot be found by their text.
        train, dropped = drop_images(splits.train, images_of(splits.test), "shows a test image")
        return replace(splits, train=train, dropped=(*splits.dropped, *dropped))

    def file_of(self, row: VQAExample) -> Path:
        """Return the image file, which ends in ``.jpg`` or, in mirrors, ``.jpg.jpg``."""
        released = super().file_of(row)
        name = released.name
        other = name.removesuffix(".jpg") if name.endswith(".jpg.jpg") else f"{name}.jpg"
        mirrored = released.with_name(other)
        return mirrored if mirrored.is_file() and not released.is_file() else released
