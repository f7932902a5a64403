"""PathVQA: questions about pathology images of textbooks (He et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.names import is_text
from amif_lightning.data.files.tables import read_json, unexpected
from amif_lightning.data.loading.options import HubOptions
from amif_lightning.data.loading.vqa_module import PARQUET, HubQuestions
from amif_lightning.data.preprocessing.normalization import collapse, is_yes_no, normalise
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

LayoutChoice = Literal["auto", "hf", "lxmert"]

NAME = "PathVQA"
#: Names of the splits in file names.
SHORT: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}
DUPLICATE = "an earlier row has the same image, question and answer"
UNUSABLE = "the row has no image, no question or no answer"


class PathVQA(HubQuestions):
    """PathVQA: 19654 / 6259 / 6719 questions without exact duplicates.

    The pickles of the first release are not read, since loading a pickle can run code.

    Args:
        root: Folder of the data set.
        layout: ``hf``: the hub's parquet files ``data/{train,validation,test}-*.parquet``;
            ``lxmert``: ``{train,val,test}.json`` or ``{train,val,test}_vqa.json`` (in the root or
            in ``qas/``), a list of questions with ``img_id``, ``sent`` and ``label`` (a score per
            answer), and images in ``images/{train,val,test}/``; ``auto``: the first one on disk.
        **kwargs: Arguments of :class:`HubQuestions`.
    """

    title, source = NAME, "https://huggingface.co/datasets/flaviagiammarino/path-vqa"

    def __init__(
        self, root: str, layout: LayoutChoice = "auto", **kwargs: Unpack[HubOptions]
    ) -> None:
        super().__init__(root, layout=layout, **kwargs)
        check_choice("layout", layout, LayoutChoice)

    @property
    def layouts(self) -> Mapping[str, Sequence[str]]:
        """Return patterns of the training file by layout, the preferred layout first."""
        return {"hf": PARQUET, "lxmert": _list_names("train")}

    def read_release(self) -> Release[VQAExample]:
        """Read all rows of the release without opening images."""
        splits, dropped = self._read_lists() if self.parquet is None else self.parquet.read()
        if not splits.get("train"):
            raise UserError(
                f"PathVQA: {self.root} has no training question in layout "
                f"'{self.chosen_layout}', so fetch that split from {self.source}."
            )
        absent = {
            split: f"no file of the {split} split is in {self.root}"
            for split in ("validation", "test")
            if split not in splits
        }
        kept = {split: tuple(_distinct(rows, dropped)) for split, rows in splits.items()}
        return Release(NAME, self.chosen_layout, kept, absent, tuple(dropped))

    def _read_lists(self) -> tuple[dict[SplitName, tuple[VQAExample, ...]], list[DroppedRow]]:
        splits: dict[SplitName, tuple[VQAExample, ...]] = {}
        dropped: list[DroppedRow] = []
        for split in SHORT:
            files = (self.root / name for name in _list_names(split))
            path = next((file for file in files if file.is_file()), None)
            if path is None:
                continue
            items = read_json(NAME, path, self.source)
            items = items if isinstance(items, list) else []
            rows = [_row(item, split, number) for number, item in enumerate(items)]
            splits[split] = tuple(row for row in rows if row is not None)
            dropped += [
                DroppedRow(f"{NAME}/{split}/{number}", UNUSABLE, path.name)
                for number, row in enumerate(rows)
                if row is None
            ]
            if not splits[split]:
                what = "it contains no list with a readable question"
                raise unexpected(NAME, path, what, self.source)
        return splits, dropped


def _list_names(split: SplitName) -> list[str]:
    short = SHORT[split]
    return [f"{short}.json", f"{short}_vqa.json", f"qas/{short}.json", f"qas/{short}_vqa.json"]


def _row(item: object, split: SplitName, number: int) -> VQAExample | None:
    """Return one entry as a row, or None if it is unusable."""
    if not isinstance(item, Mapping):
        return None
    image, question, answer = item.get("img_id"), item.get("sent"), _best(item.get("label"))
    if not all(is_text(text) for text in (image, question, answer)):
        return None
    image, question, answer = str(image).strip(), collapse(str(question)), collapse(str(answer))
    # Accept file names only, not paths that leave the split's folder.
    if not image or "/" in image or "\\" in image or image.startswith("."):
        return None
    if not normalise(question) or not normalise(answer):
        return None
    image = image.removesuffix(".jpg")
    # The release calls closed questions "yes/no"; without the field, the answer is used.
    released = _word(item.get("answer_type")).lower()
    closed = released == "yes/no" if released else is_yes_no(normalise(answer))
    return VQAExample(
        question_id=f"{NAME}/{split}/{number}",
        qid=_word(item.get("question_id")),
        split=split,
        image_key=image,
        image=f"images/{SHORT[split]}/{image}.jpg",
        question=question,
        answer=answer,
        references=(normalise(answer),),
        answer_type="closed" if closed else "open",
        question_type=_word(item.get("question_type")).lower(),
    )


def _word(released: object) -> str:
    """Return a field that is text or a number; else return empty text."""
    text = str(released) if isinstance(released, str | int) else ""
    return collapse(text) if is_text(text) else ""


def _best(label: object) -> object:
    """Return the answer with the highest score, the first one in a tie."""
    scores = {
        answer: score
        for answer, score in (label.items() if isinstance(label, Mapping) else ())
        if isinstance(score, int | float) and score == score  # NaN has no rank
    }
    return max(scores, key=scores.__getitem__) if scores else None


def _distinct(rows: Iterable[VQAExample], dropped: list[DroppedRow]) -> Iterable[VQAExample]:
    """Yield distinct rows; append exact duplicates to ``dropped``."""
    seen: set[tuple[str, str, str]] = set()
    for row in rows:
        key = (row.image_key, row.question, row.answer)
        if key in seen:
            dropped.append(DroppedRow(row.question_id, DUPLICATE, row.question, by_choice=True))
        else:
            seen.add(key)
            yield row
