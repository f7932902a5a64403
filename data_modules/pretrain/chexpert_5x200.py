"""CheXpert 5x200 and a test set drawn from MIMIC-CXR by the same rule."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files import names, tables
from amif_lightning.data.files.tables import check_folder
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow, kind_of
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack
from data_modules.pretrain.mimic_tables import ACCESS, CHEXPERT, read_metadata, read_split, table

TakeFrom = Literal["test", "held_out", "any"]
TWICE = "the labels name it twice"
BAD_LABEL = "a label is not 1, 0, -1 or empty"

_PATIENT = re.compile(r"patient[0-9]+")
_LABELS = {"": "", "1": "1", "1.0": "1", "0": "0", "0.0": "0", "-1": "-1", "-1.0": "-1"}
_TAKEN: dict[TakeFrom, tuple[SplitName, ...]] = {
    "test": ("test",),
    "held_out": ("validation", "test"),
    "any": ("train", "validation", "test"),
}

#: Classes in the order of the published set, with sentences that describe each.
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "Atelectasis": (
        "There is atelectasis at the lung base.",
        "Volume loss with plate-like atelectasis.",
        "Part of the lung has collapsed.",
    ),
    "Cardiomegaly": (
        "The heart is enlarged.",
        "There is cardiomegaly.",
        "The cardiac silhouette is larger than normal.",
    ),
    "Consolidation": (
        "There is a consolidation in the lung.",
        "Air space opacity with air bronchograms.",
        "Dense consolidation of a lobe.",
    ),
    "Edema": (
        "There is pulmonary edema.",
        "Vascular congestion with interstitial edema.",
        "Fluid in the lungs, as in heart failure.",
    ),
    "Pleural Effusion": (
        "There is a pleural effusion.",
        "Fluid in the pleural space blunts the costophrenic angle.",
        "A layering pleural effusion is seen.",
    ),
}


class FiveClassesOptions(StudyOptions, total=False):
    """All arguments of :class:`FiveClasses` except the root."""

    draw_seed: int
    missing_images: tables.MissingImages


class FiveClasses(StudyDataModule):
    """A test set of five classes with 200 images each.

    An image is eligible if it is frontal and exactly one of the five labels is positive. Uncertain
    labels (-1), which the published rule does not mention, are not positive. The images of a class
    are ranked by SHA-256 of ``<draw_seed>/<path>`` and the first ones taken, so the draw depends
    neither on the order of the labels nor on which images are on disk. A note reports classes with
    fewer eligible images.

    The text of an image is a prompt of its class, in turn, and relevant to all images of the class.
    Image-to-text retrieval therefore measures classification, not retrieval of reports.

    Args:
        root: Folder of the release.
        draw_seed: Seed of the draw.
        missing_images: Action for drawn images that are not on disk: ``error`` stops the run;
            ``skip`` omits and counts them, without replacement.
        **kwargs: Arguments of :class:`StudyDataModule`.
    """

    row_options = (*StudyDataModule.row_options, "draw_seed", "missing_images")
    per_class: ClassVar[int] = 200

    def __init__(
        self,
        root: str,
        draw_seed: int = 0,
        missing_images: tables.MissingImages = "error",
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("missing_images", missing_images, tables.MissingImages)
        self.draw_seed, self.missing_images = draw_seed, missing_images

    @property
    def dataset(self) -> str:
        """Return the name of the data set."""
        return type(self).__name__

    @abstractmethod
    def eligible(self, dropped: list[DroppedRow]) -> Iterator[StudyRow]:
        """Yield eligible images in their official split; append unusable lines to ``dropped``."""

    def _study(
        self, label: str, path: str, view: str, group: str, below: str, split: SplitName = "test"
    ) -> StudyRow:
        """Return one image; ``path`` is equal in all copies of a release, ``below`` is on disk."""
        name = f"{self.dataset}/{path}"
        images = (StudyImage(name, self.root / below, view),)
        return StudyRow(name, split, images, "", label, (label,), group)

    def class_prompts(self) -> dict[str, list[str]]:
        """Return the sentences for each of the five findings."""
        return {name: list(texts) for name, texts in PROMPTS.items()}

    def training_texts(self) -> list[str]:
        """Return the prompts, since there is no training study."""
        return [text for texts in PROMPTS.values() for text in texts]

    def setup(self, stage: str) -> None:
        """Set up ``test`` or ``predict``.

        Raises:
            UserError: For ``fit`` and ``validate``, since all images are test images.
        """
        if stage in ("fit", "validate"):
            raise UserError(
                f"{self.dataset} is a test set and holds nothing to train or to choose checkpoints "
                "on: use it with `python -m amif_lightning test`, and fit another data class."
            )
        super().setup(stage)

    def read_release(self) -> StudyRelease:
        """Draw the images from the labels without opening any.

        Raises:
            UserError: If a file is missing or damaged.
        """

        def rank(row: StudyRow) -> bytes:
            path = row.study_id.partition("/")[2]
            return hashlib.sha256(f"{self.draw_seed}/{path}".encode()).digest()

        dropped: list[DroppedRow] = []
        of_class: dict[str, list[StudyRow]] = {name: [] for name in PROMPTS}
        for row in self.eligible(dropped):
            of_class[row.finding].append(row)
        drawn = {n: sorted(found, key=rank)[: self.per_class] for n, found in of_class.items()}
        notes = [
            f"{len(found)} of {self.per_class} images of {name}: no others are eligible"
            for name, found in drawn.items()
            if len(found) < self.per_class
        ]
        if trains := sum(row.split == "train" for found in drawn.values() for row in found):
            notes.append(
                f"{trains} images are of the official training split: do not score weights that "
                "were trained on it"
            )
        rows: list[StudyRow] = []
        listing = tables.Listing()
        for name, found in drawn.items():
            for place, row in enumerate(found):
                if self.missing_images == "skip" and not listing.has(row.images[0].file):
                    dropped.append(DroppedRow(row.study_id, tables.NO_FILE))
                else:
                    text = PROMPTS[name][place % len(PROMPTS[name])]
                    rows.append(replace(row, split="test", text=text))
        layout = f"5x{self.per_class}"
        return StudyRelease(
            self.dataset, layout, {"test": tuple(rows)}, {}, tuple(dropped), tuple(notes)
        )


def only_positive(row: Mapping[str, str]) -> str | None:
    """Return a row's only class; empty for none or several, None if a label is unknown."""
    labels = {name: _LABELS.get(row[name].strip()) for name in PROMPTS}
    if None in labels.values():
        return None
    positive = [name for name, label in labels.items() if label == "1"]
    return positive[0] if len(positive) == 1 else ""


class CheXpert5x200(FiveClasses):
    """Five findings of CheXpert, drawn from ``train.csv``.

    The pre-training corpora of this suite contain no image of CheXpert.

    Args:
        root: Folder with ``train.csv`` (columns Path, Frontal/Lateral, AP/PA, and for each finding
            1, 0, -1 for uncertain, or nothing) and the images under their released paths
            (``CheXpert-v1.0/train/...`` or ``CheXpert-v1.0-small/train/...``; the first folder may
            be missing).
        **kwargs: Arguments of :class:`FiveClasses`.
    """

    def __init__(self, root: str = "data/chexpert", **kwargs: Unpack[FiveClassesOptions]) -> None:
        super().__init__(root, **kwargs)

    def eligible(self, dropped: list[DroppedRow]) -> Iterator[StudyRow]:
        """Yield the eligible images of ``train.csv``."""
        action = (
            "fetch CheXpert from https://stanfordmlgroup.github.io/competitions/chexpert "
            f"(requires an agreement) and put it in {self.root}"
        )
        source = tables.TableFile(self.root / "train.csv", self.dataset, action)
        columns = ("Path", "Frontal/Lateral", "AP/PA", *PROMPTS)
        seen: set[str] = set()
        for line, row in tables.read_table(source, columns, dropped):
            path, label = names.inside(row["Path"]), only_positive(row)
            ranked = re.sub(r"^CheXpert-v[^/]*/", "", path or "")
            problem = names.OUTSIDE if not ranked else BAD_LABEL if label is None else ""
            problem = problem or (TWICE if ranked in seen else "")
            if path is None or label is None or problem:
                where = f"{self.dataset}/{source.path.name}/{line}"
                dropped.append(DroppedRow(where, problem, f"line {line}"))
                continue
            seen.add(ranked)
            if label and kind_of(row["Frontal/Lateral"]) == "frontal":
                view = row["AP/PA"].strip() or "frontal"
                parts = path.split("/")
                patient = next((part for part in parts if _PATIENT.fullmatch(part)), "")
                # The root is the released folder or holds it.
                below = path if (self.root / parts[0]).is_dir() else ranked
                yield self._study(label, ranked, view, patient, below)


class MIMIC5x200(FiveClasses):
    """Five findings of MIMIC-CXR-JPG, drawn by ``mimic-cxr-2.0.0-chexpert.csv.gz``.

    A class may have fewer than 200 images in the official test split, the default.

    Args:
        root: Folder of MIMIC-CXR-JPG, with its tables (``.csv.gz`` or ``.csv``).
        take_from: Official splits to draw from. ``test``; ``held_out``: also validation, on which
            runs on :class:`MIMICCXR` choose checkpoints; ``any``: also training, for weights not
            trained on MIMIC-CXR. The number of training images is printed and recorded.
        **kwargs: Arguments of :class:`FiveClasses`.
    """

    row_options = (*FiveClasses.row_options, "take_from")

    def __init__(
        self,
        root: str = "data/mimic_cxr_jpg",
        take_from: TakeFrom = "test",
        **kwargs: Unpack[FiveClassesOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("take_from", take_from, TakeFrom)
        self.take_from: TakeFrom = take_from

    def eligible(self, dropped: list[DroppedRow]) -> Iterator[StudyRow]:
        """Yield the eligible images by joining the labels of studies with the views of images."""
        check_folder(self.dataset, self.root, ACCESS)
        split_of = read_split(self.dataset, self.root, dropped)
        class_of: dict[str, str] = {}
        source = table(self.dataset, self.root, CHEXPERT)
        for line, row in tables.read_table(source, ("study_id", *PROMPTS), dropped):
            study, label = row["study_id"].strip(), only_positive(row)
            if label is None or study in class_of:
                where = f"{self.dataset}/{source.path.name}/{line}"
                reason = BAD_LABEL if label is None else TWICE
                dropped.append(DroppedRow(where, reason, f"line {line}"))
            elif split_of.get(study) in _TAKEN[self.take_from]:
                class_of[study] = label
        for entry in read_metadata(self.dataset, self.root, dropped):
            label = class_of.get(entry.study)
            if label and kind_of(entry.view) == "frontal":
                split, patient = split_of[entry.study], f"p{entry.subject}"
                yield self._study(label, entry.path, entry.view, patient, entry.path, split)
