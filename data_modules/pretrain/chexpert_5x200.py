"""CheXpert 5x200, and the same of MIMIC-CXR: see :class:`FiveClasses` for the rule of the draw."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from amif_lightning.arguments import check_choice, check_minimum
from amif_lightning.data.files.tables import (
    NO_FILE,
    OUTSIDE,
    Listing,
    MissingImages,
    TableFile,
    inside,
    read_table,
)
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.data.schema.views import kind_of
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack
from data_modules.pretrain.mimic_tables import (
    CHEXPERT,
    check_root,
    read_metadata,
    read_split,
    table,
)

TWICE = "the labels name it twice"
TakeFrom = Literal["test", "held_out", "any"]

_PATIENT = re.compile(r"patient[0-9]+")


#: Classes in the order of the published set, and what is said of each.
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
BAD_LABEL = "a label is none of 1, 0, -1 and empty"
_LABELS = {"": "", "1": "1", "1.0": "1", "0": "0", "0.0": "0", "-1": "-1", "-1.0": "-1"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One frontal image with exactly one of the five findings.

    Attributes:
        path: Its path under the root, with forward slashes.
        ranked: What its rank is drawn from: the path as every copy of the release has it.
        label: Its class.
        view: The projection.
        patient: What the intervals of scores keep together.
        trains: Whether the official split trains on it.
    """

    path: str
    ranked: str
    label: str
    view: str
    patient: str
    trains: bool = False


class FiveClassesOptions(StudyOptions, total=False):
    """Arguments of :class:`FiveClasses` but the root."""

    per_class: int
    draw_seed: int
    missing_images: MissingImages


class FiveClasses(StudyDataModule):
    """A test set of five classes with ``per_class`` images each; there is nothing to train.

    An image is eligible if it is frontal and exactly one of the five labels is positive, whether or
    not others are uncertain (-1), of which the published rule says nothing. Those of
    a class are ranked by SHA-256 of ``<draw_seed>/<path>`` and the first ones taken, so the draw
    does not depend on the order of the labels, on what is on disk, or on how many are wanted.

    No report is read: the text of an image is one of its class's prompts, in turn, and all
    images of a class are relevant to it. So image-to-text retrieval asks for the class, as
    classification does, and its numbers cannot be compared with retrieval of reports.

    Args:
        root: Folder of the release.
        per_class: Images per class, at least 1; fewer where there are no more, which is said.
        draw_seed: Seed of the draw.
        missing_images: ``error``: a drawn image that is not there stops the run; ``skip``: it
            is left out and counted, and none takes its place.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If a number is out of range or a word is unknown.
    """

    def __init__(
        self,
        root: str,
        per_class: int = 200,
        draw_seed: int = 0,
        missing_images: MissingImages = "error",
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_minimum({"per_class": (per_class, 1)})
        check_choice("missing_images", missing_images, MissingImages)
        self.per_class, self.draw_seed = per_class, draw_seed
        self.missing_images = missing_images

    @property
    @abstractmethod
    def dataset(self) -> str:
        """The class's name; every class has one of its own."""

    @abstractmethod
    def labelled(self, dropped: list[DroppedRow]) -> Iterator[Labelled]:
        """The eligible images; lines that cannot be used go into ``dropped``."""

    def class_prompts(self) -> dict[str, list[str]]:
        """Sentences for each of the five findings."""
        return {name: list(texts) for name, texts in PROMPTS.items()}

    def training_texts(self) -> list[str]:
        """The prompts: there is no training study."""
        return [text for texts in PROMPTS.values() for text in texts]

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with what decides the draw."""
        return super().selection() | {
            "per_class": self.per_class,
            "draw_seed": self.draw_seed,
            "missing_images": self.missing_images,
        }

    def setup(self, stage: str) -> None:
        """As in the base, for ``test`` and ``predict``.

        Raises:
            UserError: For ``fit`` and ``validate``: all images are test images.
        """
        if stage in ("fit", "validate"):
            raise UserError(
                f"{self.dataset} is a test set and holds nothing to train or to choose checkpoints "
                "on: use it with `python -m amif_lightning test`, and fit another data class."
            )
        super().setup(stage)

    def read_release(self) -> StudyRelease:
        """Draw the images from the labels; none is opened.

        Raises:
            UserError: If a file is missing or damaged, or no image is eligible.
        """
        dropped: list[DroppedRow] = []
        of_class: dict[str, list[Labelled]] = {name: [] for name in PROMPTS}
        for image in self.labelled(dropped):
            of_class[image.label].append(image)
        drawn = {name: self._draw(found) for name, found in of_class.items()}
        notes = [
            f"{len(drawn[name])} of {self.per_class} images of {name}: the labels hold no more "
            "that are eligible"
            for name in PROMPTS
            if len(drawn[name]) < self.per_class
        ]
        if trains := sum(image.trains for found in drawn.values() for image in found):
            notes.append(
                f"{trains} images are of the official training split: do not score weights that "
                "were trained on it"
            )
        rows: list[StudyRow] = []
        listing = Listing()
        for name, found in drawn.items():
            for rank, image in enumerate(found):
                row = self._row(name, rank, image)
                if self.missing_images == "skip" and not listing.has(row.images[0].file):
                    dropped.append(DroppedRow(row.study_id, NO_FILE))
                else:
                    rows.append(row)
        return StudyRelease(
            dataset=self.dataset,
            layout=f"5x{self.per_class}",
            splits={"test": tuple(rows)},
            dropped=tuple(dropped),
            notes=tuple(notes),
        )

    def _draw(self, images: list[Labelled]) -> list[Labelled]:
        def rank(image: Labelled) -> bytes:
            return hashlib.sha256(f"{self.draw_seed}/{image.ranked}".encode()).digest()

        return sorted(images, key=rank)[: self.per_class]

    def _row(self, name: str, rank: int, image: Labelled) -> StudyRow:
        image_id = f"{self.dataset}/{image.ranked}"
        return StudyRow(
            study_id=image_id,
            split="test",
            images=(StudyImage(image_id, self.root / image.path, image.view),),
            text=PROMPTS[name][rank % len(PROMPTS[name])],
            finding=name,
            classes=(name,),
            group=image.patient,
        )

    def only_positive(self, row: Mapping[str, str]) -> str | None:
        """The one class of a row, empty where it has none or several; None: a label is unknown."""
        labels = {name: _LABELS.get(row[name].strip()) for name in PROMPTS}
        if None in labels.values():
            return None
        positive = [name for name, label in labels.items() if label == "1"]
        return positive[0] if len(positive) == 1 else ""


class CheXpert5x200(FiveClasses):
    """Five findings of CheXpert, drawn from ``train.csv``.

    Pre-training corpora of this suite hold no image of CheXpert.

    Args:
        root: Folder that holds the labels and, under the paths that they name
            (``CheXpert-v1.0/train/...`` or ``CheXpert-v1.0-small/train/...``) or without the first
            folder of these, the images.
        labels_file: Labels, relative to the root: ``train.csv``, from which published sets were
            drawn, or ``valid.csv`` (234 images). Columns: Path, Frontal/Lateral, AP/PA and one
            for each finding, 1, 0, -1 (uncertain) or empty.
        **kwargs: Arguments of :class:`FiveClasses`.

    Raises:
        UserError: If a number is out of range or a word is unknown.
    """

    def __init__(
        self,
        root: str = "data/chexpert",
        labels_file: str = "train.csv",
        **kwargs: Unpack[FiveClassesOptions],
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
        """The eligible images of the file of labels."""
        action = (
            "fetch CheXpert from https://stanfordmlgroup.github.io/competitions/chexpert (an "
            f"agreement is asked for) and put it in {self.root}, or give another file as "
            "--data.init_args.labels_file"
        )
        source = TableFile(self.root / self.labels_file, self.dataset, action)
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

    By default only images of the official test split are drawn, which neither trained nor chose
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
        self,
        root: str = "data/mimic_cxr_jpg",
        take_from: TakeFrom = "test",
        **kwargs: Unpack[FiveClassesOptions],
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
        """The eligible images: the labels of a study, joined with the views of its images."""
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
