"""Base of all data modules of studies: images with a report or a caption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from amif_lightning.arguments import check_choice, check_minimum
from amif_lightning.data.audit.studies import StudyAudit, study_audit
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.loading.options import SplitOptions, TeacherName
from amif_lightning.data.loading.study_dataset import StudyCollator, StudyViews
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.preprocessing.transforms import Augmentation, DecodedImages, ImageTransform
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.data.schema.studies import StudyRow, StudySplits, split_studies
from amif_lightning.data.teacher.cache import Embeddings, teacher_embeddings
from amif_lightning.errors import UserError
from amif_lightning.evaluation import FixedNegatives, Region, RetrievalContext
from amif_lightning.seeding import stable_seed
from amif_lightning.signatures import Unpack


class StudyDataModule(TextDataModule[StudyRow]):
    """Studies as batches of two views and a text, for :class:`AMiFPretrain`.

    Args:
        root: Folder of the data set.
        max_text_tokens: Maximum tokens of a text, [CLS] and [SEP] included.
        teacher: Source of the soft labels' features: ``none``, ``open_clip`` (a model of that
            library), ``text`` (sentence embeddings of the texts: images are as similar as their
            texts, an addition to the paper), ``checkpoint`` (an earlier pre-training run) or
            ``embeddings`` (a file in the format of data/teacher/store.py).
        teacher_source: The teacher's hub name, ``local-dir:FOLDER`` (``text``: a folder),
            checkpoint or file; empty: BiomedCLIP, or ``minilm`` for ``text``.
        teacher_cache: Folder of the teacher's embeddings, which are computed once.
        augmentation: As in :class:`TextDataModule`; the default is the paper's for pre-training.
        **kwargs: Arguments of :class:`TextDataModule`.
    """

    kind = "studies"
    drop_last = True  # losses compare all samples of the global batch

    def __init__(
        self,
        root: str,
        max_text_tokens: int = 120,
        teacher: TeacherName = "none",
        teacher_source: str = "",
        teacher_cache: str = "data/teacher",
        augmentation: Augmentation = "paper_pretrain",
        **kwargs: Unpack[SplitOptions],
    ) -> None:
        super().__init__(root, augmentation=augmentation, **kwargs)
        check_minimum({"max_text_tokens": (max_text_tokens, 3)})  # [CLS], one token, [SEP]
        check_choice("teacher", teacher, TeacherName)
        self.max_text_tokens = max_text_tokens
        self.teacher: str = teacher
        self.teacher_source, self.teacher_cache = teacher_source, Path(teacher_cache)

    # ---- the data set -------------------------------------------------------------------------

    def images_shown(self, row: StudyRow) -> dict[str, Path]:
        """Return the images of a study."""
        return {image.image_id: image.file for image in row.images}

    def training_texts(self) -> list[str]:
        """Return the texts of the training studies."""
        return [row.text for row in self.splits.train]

    def class_prompts(self) -> dict[str, list[str]]:
        """Return prompts for each class of ``StudyRow.classes``, for zero-shot classification."""
        return {}

    @cached_property
    def splits(self) -> StudySplits:
        """The training, validation and test studies."""
        return split_studies(
            self.release, split_seed=self.split_seed, validation_fraction=self.validation_fraction
        )

    def class_labels(self, split: SplitName) -> list[tuple[str, ...]]:
        """Return the class names of each study of a split, by ``position``."""
        return [row.classes for row in self.rows(split)]

    def fixed_negatives(self, split: SplitName) -> FixedNegatives:
        """Draw the negatives of the matching evaluation, equal for every model and training seed.

        A random negative has other findings, or another text if findings are unknown. A hard
        negative is the one of these with the most similar text by the teacher, if there is one.
        """
        seed = f"{self.dataset}/{split}/{self.split_seed}"
        return negatives_of(self.rows(split), self.teacher_table, seed)

    def regions(self, study_id: str, image_id: str) -> Sequence[Region]:
        """Return the regions of the findings on a study's image; empty if unknown."""
        return ()

    def region_words(self) -> Mapping[str, frozenset[str]]:
        """Return the lower-case words that name each kind of finding in a text."""
        return {}

    def evaluation_context(self) -> RetrievalContext:
        """Return the part of a record that describes the test studies."""
        return RetrievalContext(
            dataset=self.dataset,
            layout=self.release.layout,
            split="test",
            study_ids=tuple(row.study_id for row in self.splits.test),
            groups=tuple(row.hold_out_group for row in self.splits.test),
            warnings=tuple(self.warnings()),
        )

    def audit(self, check_images: bool = True) -> StudyAudit:
        """Count and check the studies; ``check_images`` decodes every image once."""
        return study_audit(
            self.release,
            self.splits,
            lambda: partial(self.tokenizer.fits, limit=self.max_text_tokens),
            self.max_image_pixels if check_images else None,
        )

    # ---- teacher ------------------------------------------------------------------------------

    def embeddings_file(self) -> Path | None:
        """Return the embeddings file, computed if missing; None without a teacher.

        It covers the usable studies of all splits, so that validation can use the teacher too.

        Raises:
            UserError: If the teacher cannot be loaded, or its file does not belong to this data.
        """
        if self.teacher not in ("open_clip", "text", "checkpoint", "embeddings"):
            return None
        rows = [*self.splits.train, *self.splits.validation, *self.splits.test]
        texts_of: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            for image in row.images:
                texts_of[image.image_id].append(row.study_id)
        return teacher_embeddings(
            self.teacher_cache,
            self.teacher,
            self.teacher_source,
            {image.image_id: image.file for row in rows for image in row.images},
            {row.study_id: row.text for row in rows},
            texts_of=texts_of,
            num_workers=self.num_workers,
            max_pixels=self.max_image_pixels,
        )

    def without_teacher(self) -> None:
        """Compute no embeddings in ``prepare_data``, for commands that only read the files."""
        self.teacher = "none"

    @cached_property
    def teacher_table(self) -> Embeddings | None:
        """The teacher's features by id; None without a teacher."""
        path = self.embeddings_file()
        return None if path is None else Embeddings.read(path)

    # ---- Lightning ----------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Compute and cache the embeddings of a configured teacher."""
        self.embeddings_file()

    def setup(self, stage: str) -> None:
        """As in the base; too few studies for a batch or the processes are also a ``UserError``."""
        super().setup(stage)
        processes = self._world()[0]
        for split in self._needed(stage):
            studies = len(self.rows(split))
            if studies < processes:  # a process without studies has nothing to gather
                raise UserError(
                    f"{self.where} has {studies} {split} studies for {processes} processes: give "
                    f"--trainer.devices {studies} or less."
                )
        if stage != "fit":
            return
        studies = len(self._train_data())
        largest = -(-studies // processes)  # shards are filled up to equal length
        if largest < self.batch_size:
            raise UserError(
                f"{self.where} has {studies} training studies, fewer than one batch of "
                f"{self.batch_size} on each of {processes} process(es): give "
                f"--data.init_args.batch_size {largest} or less."
            )
        train = self.splits.train
        single = sum(len(row.images) == 1 for row in train)
        if single and self.augmentation == "none":
            rank_zero_info(
                f"{self.dataset}: {single} of {len(train)} train studies have one image and "
                "augmentation is none, so their two views are equal"
            )

    @property
    def _collate(self) -> StudyCollator:
        return StudyCollator(self.tokenizer, self.max_text_tokens, self.teacher_table)

    def _train_data(self) -> Any:
        rows = self.splits.train
        return StudyViews(
            rows,
            self._files(rows),
            self._train_transform,
            shuffle=True,
            seed=self.seed,
            cache=self._train_cache,
            max_pixels=self.max_image_pixels,
        )

    def _evaluation_data(
        self, rows: Sequence[StudyRow], cache: DecodedImages | None = None
    ) -> StudyViews:
        return StudyViews(
            rows,
            self._files(rows),
            ImageTransform(self.image_size),
            cache=cache,
            max_pixels=self.max_image_pixels,
        )


_ROWS = 512  # studies compared with the whole split at once
# Lower bound of the cosines of equal float32 vectors.
_EQUAL = 1 - 1e-5


def _noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    # The default dtype follows the trainer's precision, and other dtypes draw other numbers.
    return torch.rand(*shape, generator=generator, dtype=torch.float32)


def _numbers(groups: Sequence[str]) -> Tensor:
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return torch.tensor([numbers[group] for group in groups])


def random_negatives(groups: Sequence[str], seed: str) -> tuple[int, ...]:
    """Draw a study of another group (findings or text) for each study, uniformly; -1 if none."""
    generator = torch.Generator().manual_seed(stable_seed("random negatives", seed))
    group, noise = _numbers(groups), _noise((len(groups),) * 2, generator)
    return tuple(
        int(noise[row].masked_fill(group == own, -1.0).argmax()) if (group != own).any() else -1
        for row, own in enumerate(group)
    )


def hard_negatives(features: Tensor, groups: Sequence[str], seed: str) -> tuple[int, ...]:
    """Find the study of another group with the nearest features (N, T), for N studies; -1 if none.

    Rows are unit vectors; equal rows are not negatives of each other. Ties are broken at random.
    """
    generator = torch.Generator().manual_seed(stable_seed("hard negatives", seed))
    group = _numbers(groups)
    found: list[int] = []
    for start in range(0, len(groups), _ROWS):
        rows = slice(start, start + _ROWS)
        cosines = features[rows].double() @ features.double().T
        never = (group[rows, None] == group) | (cosines > _EQUAL)
        # Rounded, so that equal cosines tie on every machine; noise below the last digit decides.
        scores = cosines.round(decimals=5) + 1e-6 * _noise(cosines.shape, generator)
        scores = scores.masked_fill(never, -torch.inf)
        found += scores.argmax(1).masked_fill(never.all(1), -1).tolist()
    return tuple(found)


def negatives_of(rows: Sequence[StudyRow], table: Embeddings | None, seed: str) -> FixedNegatives:
    """Draw the fixed negatives of a split's studies; hard ones require a teacher's features."""
    groups = [row.finding or normalise(row.text) for row in rows]
    hard = None
    if table is not None:
        hard = hard_negatives(table.text([row.study_id for row in rows]), groups, seed)
    return FixedNegatives(random_negatives(groups, seed), hard)
