"""Generated thorax phantoms as questions, and as studies with an exact teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from amif_lightning.arguments import check_choice
from amif_lightning.data.loading.options import GeneratedOptions, VQAOptions
from amif_lightning.data.loading.pretrain_module import (
    StudyDataModule,
    hard_negatives,
    random_negatives,
)
from amif_lightning.data.loading.question_dataset import other_images
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import Release, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.data.teacher.cache import Embeddings
from amif_lightning.errors import UserError
from amif_lightning.evaluation import FixedNegatives, Region
from amif_lightning.signatures import Unpack
from data_modules.phantom.generate import checked_sizes, generate
from data_modules.phantom.read import DATASET, Study, read_phantom, read_regions, read_studies
from data_modules.phantom.simulator.findings import KINDS, NONE, unit_vectors
from data_modules.phantom.study import SPLITS, decode_runs

PhantomTeacher = Literal[
    "none", "vectors", "shuffled_vectors", "open_clip", "checkpoint", "embeddings"
]

#: Words of the reports that name each kind of finding and no other kind of the same study.
NAMES: Mapping[str, frozenset[str]] = {
    "nodule": frozenset({"nodule", "nodules", "opacity"}),
    "mass": frozenset({"mass"}),
    "effusion": frozenset({"effusion", "effusions", "fluid"}),
    "consolidation": frozenset({"consolidation", "opacity"}),
    "pneumothorax": frozenset({"pneumothorax"}),
    "cardiomegaly": frozenset({"cardiomegaly", "heart", "cardiac", "silhouette"}),
}
#: Sentences of the reports' wording, without side, zone or size.
PROMPTS: dict[str, list[str]] = {
    NONE: ["No acute cardiopulmonary abnormality.", "Normal chest radiograph."],
    "nodule": ["There is a pulmonary nodule.", "A round nodule is seen."],
    "mass": ["There is a mass in the lung.", "A rounded mass is seen."],
    "effusion": ["There is a pleural effusion.", "Fluid in the pleural space."],
    "consolidation": ["There is a consolidation.", "Patchy air space opacity."],
    "pneumothorax": ["There is a pneumothorax.", "Air in the pleural space."],
    "cardiomegaly": ["The heart is enlarged.", "There is cardiomegaly."],
}


class Phantom(VQADataModule):
    """Radiographs of generated patients, with questions that the image alone answers.

    Args:
        root: Folder of the data set; generated if missing or empty.
        phantom_seed: Seed of the patients, 0 or more; independent of the training seed.
        train_studies: Studies (two views each) of the training split, 1 or more.
        validation_studies: Studies of the validation split; 0: hold out from training.
        test_studies: Studies of the test split.
        compositional: Add questions with composed answers, such as ``small left upper mass``;
            some of these answers do not occur in training.
        **kwargs: Arguments of :class:`VQADataModule`.

    Raises:
        UserError: If a number is out of range.
    """

    compares_content = False  # all generated chests are near-duplicates; patients are known

    def __init__(
        self,
        root: str = "data/phantom",
        phantom_seed: int = 0,
        train_studies: int = 1200,
        validation_studies: int = 200,
        test_studies: int = 300,
        compositional: bool = False,
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        self.studies = checked_sizes(phantom_seed, train_studies, validation_studies, test_studies)
        self.phantom_seed, self.compositional = phantom_seed, compositional

    def prepare_data(self) -> None:
        """Generate the data set unless it exists."""
        generate(self.root, self.phantom_seed, self.studies)

    def read_release(self) -> Release:
        """Read the generated questions.

        Raises:
            UserError: If there are too few studies for a training question.
        """
        release = read_phantom(self.root, compositional=self.compositional)
        if not release.splits["train"]:
            raise UserError(
                f"The {self.studies['train']} training studies of the phantom in {self.root} are "
                "too few for a balanced question: give --data.init_args.train_studies 24 or more, "
                "and another root."
            )
        return release

    def training_texts(self) -> list[str]:
        """Return questions, answers and reports, so that both stages build the same token table."""
        studies = [study for study in read_studies(self.root) if study.split == "train"]
        return super().training_texts() + [study.report for study in studies]


class PhantomStudies(StudyDataModule):
    """Frontal and lateral radiographs of generated patients with their reports.

    This class and :class:`Phantom` generate the same files from the same settings.

    Args:
        root: Folder of the data set; generated if missing or empty.
        phantom_seed: Seed of the patients, 0 or more; independent of the training seed.
        train_studies: Studies (two views each) of the training split, 1 or more.
        validation_studies: Studies of the validation split; 0: hold out from training.
        test_studies: Studies of the test split.
        teacher: ``vectors``: a study's exact finding vector as features of its images and report;
            ``shuffled_vectors``: the vector of another study of the split, drawn by ``seed``, a
            control with equally sharp, uninformative labels; or one of :class:`StudyDataModule`.
        vector_scale: Logit scale (natural logarithm) of ``vectors`` and ``shuffled_vectors``.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If a number is out of range or the teacher is unknown.
    """

    def __init__(
        self,
        root: str = "data/phantom",
        phantom_seed: int = 0,
        train_studies: int = 1200,
        validation_studies: int = 200,
        test_studies: int = 300,
        teacher: PhantomTeacher = "vectors",
        vector_scale: float = 3.0,
        **kwargs: Unpack[GeneratedOptions],
    ) -> None:
        check_choice("teacher", teacher, PhantomTeacher)
        # The exact vectors need no embeddings file.
        base = "none" if teacher == "vectors" or teacher == "shuffled_vectors" else teacher
        super().__init__(root, teacher=base, **kwargs)
        self.studies = checked_sizes(phantom_seed, train_studies, validation_studies, test_studies)
        self.phantom_seed = phantom_seed
        self.teacher, self.vector_scale = teacher, vector_scale

    def prepare_data(self) -> None:
        """Generate the data set unless it exists, then prepare the teacher."""
        generate(self.root, self.phantom_seed, self.studies)
        super().prepare_data()

    def read_release(self) -> StudyRelease:
        """Read the studies."""
        rows: dict[SplitName, list[StudyRow]] = {split: [] for split in SPLITS}
        for study in read_studies(self.root):
            rows[study.split].append(_row(self.root, study))
        splits = {split: tuple(found) for split, found in rows.items()}
        return StudyRelease(dataset=DATASET, layout="generated", splits=splits)

    def training_texts(self) -> list[str]:
        """Return questions, answers and reports, so that both stages build the same token table."""
        rows = read_phantom(self.root).splits["train"]
        reports = [row.text for row in self.release.splits["train"]]
        return [row.question for row in rows] + [row.references[0] for row in rows] + reports

    def selection(self) -> dict[str, str | int | float | bool]:
        """Add to the selection the split that the answering stage must score."""
        return super().selection() | {"test_split": "test"}

    def class_prompts(self) -> dict[str, list[str]]:
        """Return sentences for each kind of finding and for none."""
        return {name: list(PROMPTS[name]) for name in (NONE, *KINDS)}

    def fixed_negatives(self, split: SplitName) -> FixedNegatives:
        """Select negatives by the exact finding vectors, for every teacher."""
        rows = self.rows(split)
        vectors = {_id(study.study_id): study.vector for study in read_studies(self.root)}
        features = torch.from_numpy(unit_vectors([vectors[row.study_id] for row in rows]))
        groups = [row.finding for row in rows]
        seed = f"{DATASET}/{split}/{self.phantom_seed}"
        return FixedNegatives(
            random_negatives(groups, seed), hard_negatives(features, groups, seed)
        )

    @cached_property
    def _regions(self) -> dict[str, list[tuple[str, list[int]]]]:
        return read_regions(self.root)

    def regions(self, study_id: str, image_id: str) -> Sequence[Region]:
        """Return the footprints of the findings that an image shows."""
        found = self._regions.get(image_id.removeprefix(f"{DATASET}/"), [])
        return [Region(kind, decode_runs(runs)) for kind, runs in found]

    def region_words(self) -> Mapping[str, frozenset[str]]:
        """Return the words of the reports that name each kind."""
        return NAMES

    @cached_property
    def teacher_table(self) -> Embeddings | None:
        """Return the exact finding vectors, or the table of the chosen teacher.

        Both views and the report of a study share one vector. The diagonal of the labels therefore
        stays the largest in the shuffled control; only similarities of different studies are wrong.
        """
        if self.teacher not in ("vectors", "shuffled_vectors"):
            return super().teacher_table
        studies = read_studies(self.root)
        teaches = {study.study_id: study.study_id for study in studies}
        if self.teacher == "shuffled_vectors":
            for split in SPLITS:
                own = [study.study_id for study in studies if study.split == split]
                teaches |= other_images(own, self.seed)
        features = torch.from_numpy(unit_vectors([study.vector for study in studies]))
        row = {study.study_id: place for place, study in enumerate(studies)}
        places: dict[str, int] = {}  # by study id and image id
        for study in studies:
            names = (study.study_id, *study.images.values())
            places |= dict.fromkeys(map(_id, names), row[teaches[study.study_id]])
        kinds = ("image", "text")
        return Embeddings(
            self.root,
            self.vector_scale,
            dict.fromkeys(kinds, features),
            dict.fromkeys(kinds, places),
        )


def _row(root: Path, study: Study) -> StudyRow:
    return StudyRow(
        study_id=_id(study.study_id),
        split=study.split,
        images=tuple(StudyImage(_id(p), root / p, view) for view, p in study.images.items()),
        text=study.report,
        finding="".join(map(str, study.vector)),
        classes=tuple(dict.fromkeys(found.kind for found in study.findings)) or (NONE,),
        group=study.patient_id,
    )


def _id(name: str) -> str:
    return f"{DATASET}/{name}"
