"""CheXpert 5x200, and the same of MIMIC-CXR: see :class:`FiveClasses` for the rule of the draw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from data_modules.corpus_files import OUTSIDE, Source, inside, read_table
from data_modules.five_classes import BAD_LABEL, PROMPTS, FiveClasses, Labelled
from data_modules.mimic.files import CHEXPERT, check_root, read_metadata, read_split, table
from data_modules.options import check_choice
from data_modules.rows import DroppedRow, SplitName
from data_modules.views import kind_of

TWICE = "the labels name it twice"
TakeFrom = Literal["test", "held_out", "any"]

_PATIENT = re.compile(r"patient[0-9]+")


class CheXpert5x200(FiveClasses):
    """Five findings of CheXpert, drawn from ``train.csv``.

    Pre-training corpora of this suite hold no picture of CheXpert.

    Args:
        root: Folder that holds the labels and, under the paths that they name
            (``CheXpert-v1.0/train/...`` or ``CheXpert-v1.0-small/train/...``) or without the first
            folder of these, the pictures.
        labels_file: Labels, relative to the root: ``train.csv``, from which published sets were
            drawn, or ``valid.csv`` (234 pictures). Columns: Path, Frontal/Lateral, AP/PA and one
            for each finding, 1, 0, -1 (uncertain) or empty.
        **kwargs: Arguments of :class:`FiveClasses`.

    Raises:
        UserError: If a number is out of range or a word is unknown.
    """

    def __init__(
        self, root: str = "data/chexpert", labels_file: str = "train.csv", **kwargs: Any
    ) -> None:
        super().__init__(root, **kwargs)
        self.labels_file = labels_file

    @property
    def dataset(self) -> str:
        """The class's name."""
        return "CheXpert5x200"

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with the file of labels."""
        return super().selection() | {"labels_file": self.labels_file}

    def labelled(self, dropped: list[DroppedRow]) -> Iterator[Labelled]:
        """The eligible pictures of the file of labels."""
        mend = (
            "fetch CheXpert from https://stanfordmlgroup.github.io/competitions/chexpert (an "
            f"agreement is asked for) and put it in {self.root}, or give another file as "
            "--data.init_args.labels_file"
        )
        source = Source(self.root / self.labels_file, self.dataset, mend)
        columns = ("Path", "Frontal/Lateral", "AP/PA", *PROMPTS)
        seen: set[str] = set()
        for line, row in read_table(source, columns, dropped):
            where = f"{self.dataset}/{self.labels_file}/{line}"
            path, label = inside(row["Path"]), self.only_positive(row)
            ranked = re.sub(r"^CheXpert-v[^/]*/", "", path or "")
            problem = OUTSIDE if not ranked else BAD_LABEL if label is None else ""
            problem = problem or (TWICE if ranked in seen else "")
            if path is None or label is None or problem:
                dropped.append(DroppedRow(where, problem, f"line {line}"))
                continue
            seen.add(ranked)
            if label and kind_of(row["Frontal/Lateral"]) == "frontal":
                view = row["AP/PA"].strip() or "frontal"
                patient = next((part for part in path.split("/") if _PATIENT.fullmatch(part)), "")
                yield Labelled(self._placed(path), ranked, label, view, patient)

    def _placed(self, path: str) -> str:
        """The path under the root, whether that holds the release or is its folder."""
        first, _, rest = path.partition("/")
        if first.startswith("CheXpert-v") and rest and not (self.root / first).is_dir():
            return rest
        return path


class MIMIC5x200(FiveClasses):
    """The same of MIMIC-CXR-JPG's labels (``mimic-cxr-2.0.0-chexpert.csv.gz``).

    By default only pictures of the official test split are drawn, which neither trained nor chose
    the weights of a run on :class:`MIMICCXR`; they may be fewer than 200 of a class, which is said.

    Args:
        root: Folder of MIMIC-CXR-JPG, with its tables (``.csv.gz`` or ``.csv``).
        take_from: ``test``: the official test split; ``held_out``: validation too, which chose
            the checkpoints of runs on MIMIC-CXR; ``any``: training too, for weights that have never
            seen MIMIC-CXR. How many are of the training split is printed and recorded.
        **kwargs: Arguments of :class:`FiveClasses`.

    Raises:
        UserError: If a number is out of range or a word is unknown.
    """

    def __init__(
        self, root: str = "data/mimic_cxr_jpg", take_from: TakeFrom = "test", **kwargs: Any
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("take_from", take_from, TakeFrom)
        self.take_from: TakeFrom = take_from

    @property
    def dataset(self) -> str:
        """The class's name."""
        return "MIMIC5x200"

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with the splits that are drawn from."""
        return super().selection() | {"take_from": self.take_from}

    def labelled(self, dropped: list[DroppedRow]) -> Iterator[Labelled]:
        """The eligible pictures: the labels of a study, joined with the views of its pictures."""
        check_root(self.dataset, self.root)
        splits: dict[TakeFrom, tuple[SplitName, ...]] = {
            "test": ("test",),
            "held_out": ("validation", "test"),
            "any": ("train", "validation", "test"),
        }
        split_of = read_split(self.dataset, self.root, dropped)
        class_of: dict[str, str] = {}
        source = table(self.dataset, self.root, CHEXPERT)
        for line, row in read_table(source, ("study_id", *PROMPTS), dropped):
            study, label = row["study_id"].strip(), self.only_positive(row)
            if label is None or study in class_of:
                where = f"{self.dataset}/{source.path.name}/{line}"
                reason = BAD_LABEL if label is None else TWICE
                dropped.append(DroppedRow(where, reason, f"line {line}"))
            elif split_of.get(study) in splits[self.take_from]:
                class_of[study] = label
        for entry in read_metadata(self.dataset, self.root, dropped):
            label = class_of.get(entry.study)
            if label and kind_of(entry.view) == "frontal":
                trains = split_of[entry.study] == "train"
                patient = f"p{entry.subject}"
                yield Labelled(entry.path, entry.path, label, entry.view, patient, trains)
