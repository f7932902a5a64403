"""The base of all data modules of studies: images with a report or a caption.

A subclass reads its release; splits, views, tokens, a teacher's features and loaders are here and
therefore the same for every data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader

from amif_lightning.arguments import check_choice, check_minimum
from amif_lightning.batch import StudyBatch
from amif_lightning.data.audit.studies import StudyAudit, study_audit
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.loading.fixed_negatives import negatives_of
from amif_lightning.data.loading.options import SplitOptions, TeacherName
from amif_lightning.data.loading.question_dataset import ImageCache
from amif_lightning.data.loading.study_dataset import (
    StudySample,
    StudyViews,
    TeacherTable,
    make_study_batch,
)
from amif_lightning.data.preprocessing.transforms import Augmentation, ImageTransform
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.data.schema.studies import StudyRow
from amif_lightning.data.schema.study_splits import StudySplits, split_studies
from amif_lightning.errors import UserError
from amif_lightning.evaluation import FixedNegatives, Region, RetrievalContext
from amif_lightning.signatures import Unpack


class StudyDataModule(TextDataModule[StudyRow]):
    """Studies as batches of two views and a text, for :class:`AMiFPretrain`.

    Args:
        root: Folder of the data set.
        max_text_tokens: Most tokens of a text, [CLS] and [SEP] included.
        teacher: Whose features batches carry for soft labels: ``none``; ``open_clip``: a model of
            that library; ``checkpoint``: an earlier pre-training run; ``embeddings``: a file made
            by anyone (see data/teacher/cache.py).
        teacher_source: The teacher's hub name, ``local-dir:FOLDER``, checkpoint or file; empty:
            the default of its kind.
        teacher_cache: Folder that a teacher's features are stored in once and read back from.
        augmentation: As in :class:`TextDataModule`; by default that of the paper's pre-training.
        **kwargs: Arguments of :class:`TextDataModule`.

    Raises:
        UserError: If a number is out of range or a word is unknown.
    """

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
        self._read_teacher: TeacherName = teacher  # the one whose file is read
        self.teacher_source, self.teacher_cache = teacher_source, Path(teacher_cache)

    # ---- what a data set is -------------------------------------------------------------------

    kind = "studies"

    def images_shown(self, row: StudyRow) -> dict[str, Path]:
        """The images of a study."""
        return {image.image_id: image.file for image in row.images}

    def training_texts(self) -> list[str]:
        """Texts that the ``words`` table is built from: those of the training studies."""
        return [row.text for row in self.splits.train]

    def class_prompts(self) -> dict[str, list[str]]:
        """Sentences that describe each class, for classification without training.

        The names are those of ``StudyRow.classes``; empty where the data has no classes.
        """
        return {}

    # ---- derived once, from files alone -------------------------------------------------------

    @cached_property
    def splits(self) -> StudySplits:
        """Which studies train, validate and test."""
        return split_studies(
            self.release, split_seed=self.split_seed, validation_fraction=self.validation_fraction
        )

    def class_labels(self, split: SplitName) -> list[tuple[str, ...]]:
        """For each study of a split the names of its classes, by ``position``."""
        return [row.classes for row in self.rows(split)]

    def fixed_negatives(self, split: SplitName) -> FixedNegatives:
        """The negatives that matching is judged by, the same for every model and seed.

        A random one is any study with other findings, or with another text where findings are not
        known. A hard one is the study whose text the teacher finds most alike; without a teacher
        there is none.

        Args:
            split: ``validation`` or ``test``.
        """
        seed = f"{self.dataset}/{split}/{self.split_seed}"
        return negatives_of(self.rows(split), self.teacher_table, seed)

    def regions(self, study_id: str, image_id: str) -> Sequence[Region]:
        """Where the findings that an image shows lie; empty where the data does not say.

        Args:
            study_id: The study.
            image_id: One of its images.
        """
        return ()

    def region_words(self) -> Mapping[str, frozenset[str]]:
        """By kind of finding the words, in lower case, that name it in a text."""
        return {}

    def evaluation_context(self) -> RetrievalContext:
        """What a record must say about the test studies."""
        return RetrievalContext(
            dataset=self.dataset,
            layout=self.release.layout,
            split="test",
            study_ids=tuple(row.study_id for row in self.splits.test),
            groups=tuple(row.hold_out_group for row in self.splits.test),
            warnings=tuple(self.warnings()),
        )

    def audit(self, check_images: bool = True) -> StudyAudit:
        """Count, compare and judge what training would see, see :mod:`data.audit.studies`.

        Args:
            check_images: Whether to decode every image once.
        """
        return study_audit(
            self.release,
            self.splits,
            lambda: partial(self.tokenizer.fits, limit=self.max_text_tokens),
            check_images,
        )

    # ---- teacher ------------------------------------------------------------------------------

    def embeddings_file(self) -> Path | None:
        """The file of the teacher's features, made where it is not there yet; None without one.

        It covers every usable study, so that validation can be compared with the teacher too.

        Raises:
            UserError: If the teacher cannot be loaded, or its file does not belong to this data.
        """
        if self._read_teacher == "none":
            return None
        from amif_lightning.data.teacher.cache import (
            teacher_embeddings,  # needed with a teacher only
        )

        rows = [*self.splits.train, *self.splits.validation, *self.splits.test]
        return teacher_embeddings(
            self.teacher_cache,
            self._read_teacher,
            self.teacher_source,
            {image.image_id: image.file for row in rows for image in row.images},
            {row.study_id: row.text for row in rows},
            num_workers=self.num_workers,
        )

    def without_teacher(self) -> None:
        """Read images and texts only, as a check of the files does: no teacher's file is made."""
        self._read_teacher = "none"

    @cached_property
    def teacher_table(self) -> TeacherTable | None:
        """The teacher's features by id; None without a teacher."""
        path = self.embeddings_file()
        if path is None:
            return None
        from amif_lightning.data.teacher.cache import Embeddings

        return Embeddings(path)

    # ---- Lightning ----------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Let the teacher read the data once, where there is a teacher; nothing is downloaded."""
        self.embeddings_file()

    def setup(self, stage: str) -> None:
        """As in the base.

        Raises:
            UserError: If a split that is needed is empty, or smaller than one training batch, or
                has fewer studies than there are processes.
        """
        super().setup(stage)
        processes = self._world()[0]
        for split in self._needed(stage):
            studies = len(self.rows(split))
            if studies < processes:  # or one has nothing to gather with the others
                raise UserError(
                    f"{self.where} has {studies} {split} studies for {processes} processes: give "
                    f"--trainer.devices {studies} or less."
                )
        if stage == "fit":
            self._check_batch(processes)
            if self.augmentation == "none":
                self._report_equal_views()

    def _check_batch(self, processes: int) -> None:
        studies = self._epoch_studies()
        largest = -(-studies // processes)  # shards are filled up to equal length
        if largest < self.batch_size:  # a last batch that is not full is left out
            raise UserError(
                f"{self.where} has {studies} training studies, fewer than one batch of "
                f"{self.batch_size} on each of {processes} process(es): give "
                f"--data.init_args.batch_size {largest} or less."
            )

    def _epoch_studies(self) -> int:
        """How many training studies an epoch shows."""
        return len(self.splits.train)

    def _report_equal_views(self) -> None:
        train = self.splits.train
        alone = sum(len(row.images) == 1 for row in train)
        if alone:
            rank_zero_info(
                f"{self.dataset}: {alone} of {len(train)} train studies have one image and "
                "augmentation is none, so their two views are equal"
            )

    def _cache_keys(self, rows: Iterable[StudyRow]) -> Iterable[str]:
        return (image.image_id for row in rows for image in row.images)

    @property
    def _collate(self) -> Callable[[Sequence[StudySample]], StudyBatch]:
        return partial(make_study_batch, pad_id=self.tokenizer.pad_id, teacher=self.teacher_table)

    def train_dataloader(self) -> DataLoader[StudyBatch]:
        """Shuffled studies in full batches, equally many on all processes.

        Losses compare all samples of the global batch, so a last batch that is not full is left
        out; the next epoch shuffles anew.
        """
        data = self._train_views()
        return self._train_loader(data, len(data), self._collate, drop_last=True)

    def _train_views(self) -> StudyViews:
        return StudyViews(
            self.splits.train,
            self._train_transform,
            self.tokenizer,
            self.max_text_tokens,
            shuffle=True,
            seed=self.seed,
            cache=self._train_cache,
            resized=self.resized,
        )

    def val_dataloader(self) -> DataLoader[StudyBatch]:
        """The validation studies, each once over all processes."""
        return self._evaluation_loader(self.splits.validation, self._validation_cache)

    def test_dataloader(self) -> DataLoader[StudyBatch]:
        """The test studies, each once over all processes."""
        return self._evaluation_loader(self.splits.test)

    def predict_dataloader(self) -> DataLoader[StudyBatch]:
        """The test studies."""
        return self._evaluation_loader(self.splits.test)

    def _evaluation_loader(
        self, rows: Sequence[StudyRow], cache: ImageCache | None = None
    ) -> DataLoader[StudyBatch]:
        data = StudyViews(
            rows,
            ImageTransform(self.image_size),
            self.tokenizer,
            self.max_text_tokens,
            cache=cache,
            resized=self.resized,
        )
        return self._shard_loader(data, len(data), self._collate)
