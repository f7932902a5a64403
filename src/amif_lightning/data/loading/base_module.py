"""Base of all data modules: options, images, tokenizer and loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.arguments import check_minimum
from amif_lightning.data.files.reduced_copies import check_copies, resized_path
from amif_lightning.data.leakage.held_out import DatasetImages
from amif_lightning.data.loading.safe_rows import without_unsafe
from amif_lightning.data.loading.samplers import EpochIndexSampler, ShardSampler, position
from amif_lightning.data.preprocessing.images import MAX_PIXELS
from amif_lightning.data.preprocessing.tokenizer import Tokenizer, corpus_texts
from amif_lightning.data.preprocessing.transforms import (
    Augmentation,
    DecodedImages,
    ImageTransform,
    read_square,
)
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.data.schema.studies import StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import describe

Row = TypeVar("Row", VQAExample, StudyRow)

#: With fewer training steps an epoch, a warning is printed.
FEW_STEPS = 10


class TextDataModule(L.LightningDataModule, ABC, Generic[Row]):
    """Images with texts: one tokenizer, one image size, loaders that resume exactly.

    Args:
        root: Folder of the data set.
        split_seed: Seed of the validation hold-out (a hash of image identity and this number).
        validation_fraction: Share of training images held out if no validation split is released.
        batch_size: Images (studies) per training step and process.
        eval_batch_size: Images (studies) per validation or test step.
        num_workers: Processes that decode, augment and tokenise.
        image_size: Side of the square network input in pixels.
        tokenizer: ``words`` (4096 slots built from texts, no download), ``minilm`` from an
            installed package, or the hub name or folder of a text encoder.
        tokenizer_corpora: Source of ``words``: ``train`` (this data set's training texts) or files
            with one text per line. Both stages of a run must use the same.
        augmentation: ``none``, ``mild``, ``paper`` (fine-tuning), ``paper_pretrain`` or
            ``released_pretrain`` (see data/preprocessing/transforms.py).
        cache_images: Keep decoded training and validation images in shared memory; same pixels.
        resized: Folder of reduced copies made by ``prepare data --resize`` that replace the
            released images (see data/files/reduced_copies.py); empty: the released images.
        max_image_pixels: Largest image to decode, at most twice the default of 89 million (where
            Pillow begins to warn), at which one image takes up to 1 GiB in each worker.
        seed: Seed of order, grouping and augmentation.

    Raises:
        UserError: If a number is out of range or a choice is unknown.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the signature and docstring of a subclass, for ``help`` and editors."""
        super().__init_subclass__(**kwargs)
        describe(cls)

    def __init__(
        self,
        root: str,
        split_seed: int = 0,
        validation_fraction: float = 0.1,
        batch_size: int = 24,
        eval_batch_size: int = 16,
        num_workers: int = 2,
        image_size: int = 288,
        tokenizer: str = "emilyalsentzer/Bio_ClinicalBERT",
        tokenizer_corpora: list[str] | None = None,
        augmentation: Augmentation = "paper",
        cache_images: bool = False,
        resized: str = "",
        max_image_pixels: int = MAX_PIXELS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < validation_fraction < 1:
            raise UserError(
                f"validation_fraction is {validation_fraction}: give a share between 0 and 1."
            )
        check_minimum(
            {
                "batch_size": (batch_size, 1),
                "eval_batch_size": (eval_batch_size, 1),
                "num_workers": (num_workers, 0),
                "image_size": (image_size, 1),
                "max_image_pixels": (max_image_pixels, 1),
            }
        )
        self._train_transform = ImageTransform(image_size, augmentation)
        self.root = Path(root)
        self.split_seed, self.validation_fraction = split_seed, validation_fraction
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.image_size = num_workers, image_size
        self.tokenizer_name = tokenizer
        self.tokenizer_corpora = tokenizer_corpora or ["train"]
        self.augmentation, self.cache_images, self.seed = augmentation, cache_images, seed
        self.resized = Path(resized) if resized else None
        self.max_image_pixels = max_image_pixels
        self._tokenizer: Tokenizer | None = None

    # ---- the data set -------------------------------------------------------------------------

    #: What a row is.
    kind: Literal["questions", "studies"]

    @abstractmethod
    def read_release(self) -> Release[Row]:
        """Read all rows of the release under ``root`` without opening images."""

    @cached_property
    def release(self) -> Release[Row]:
        """The release's rows, without those that would read outside of their folder."""
        return without_unsafe(self.read_release())

    @cached_property
    @abstractmethod
    def splits(self) -> Any:
        """The training, validation and test rows, and the dropped rows with their reasons."""

    @property
    def dataset(self) -> str:
        """The data set's name in ids, messages and records."""
        return self.release.dataset

    @property
    def where(self) -> str:
        """The data set and its folder, for messages."""
        return f"{self.dataset} under {self.root}"

    @property
    def absent(self) -> Mapping[str, str]:
        """The reason for each split of the release that is not on disk."""
        return self.release.absent

    @property
    def protocol_label(self) -> str:
        """The protocol's name in records."""
        return "clean"

    def rows(self, split: SplitName) -> tuple[Row, ...]:
        """Return the rows of a split; ``StudyBatch.position`` indexes them."""
        found: tuple[Row, ...] = getattr(self.splits, split)
        return found

    @abstractmethod
    def training_texts(self) -> list[str]:
        """Return texts for the ``words`` table, none of them from a validation or test split."""

    #: Constructor arguments that determine the rows.
    row_options: ClassVar[tuple[str, ...]] = ("split_seed", "validation_fraction")

    def selection(self) -> dict[str, str | int | float | bool]:
        """Return the data set, its layout and the ``row_options``, which checkpoints store.

        Scoring compares them, to reject checkpoints that were trained or selected on the scored
        rows.
        """
        chosen = {name: getattr(self, name) for name in self.row_options}
        return {"dataset": self.dataset, "layout": self.release.layout, **chosen}

    def warnings(self) -> list[str]:
        """Return the sentences that every run and record repeats: notes, then dropped rows."""
        return [*self.release.notes, *self._dropped()]

    def _dropped(self) -> list[str]:
        counts = Counter(row.reason for row in self.splits.dropped)
        what = "rows" if self.kind == "questions" else "studies"
        return [f"{number} {what} dropped: {reason}" for reason, number in counts.items()]

    # ---- images -------------------------------------------------------------------------------

    @abstractmethod
    def images_shown(self, row: Row) -> dict[str, Path]:
        """Return the image files of a row by image id, ``<data set>/<path in the release>``."""

    def images_in(self, rows: Iterable[Row]) -> DatasetImages:
        """Return the images of the given rows."""
        return DatasetImages.of((row.row_id, self.images_shown(row)) for row in rows)

    def images_of(self, split: SplitName) -> DatasetImages:
        """Return the images of one split."""
        return self.images_in(self.rows(split))

    def trained_images(self) -> DatasetImages:
        """Return the training images."""
        return self.images_in(self.splits.train)

    def released_images(self) -> list[DatasetImages]:
        """Return all images of the release, split by split."""
        return [self.images_in(rows) for rows in self.release.splits.values()]

    def scored_images(self) -> list[DatasetImages]:
        """Return the images that select or score weights: released splits and the hold-out."""
        scored: list[Iterable[Row]] = [self.splits.validation]
        scored += [rows for split, rows in self.release.splits.items() if split != "train"]
        return [self.images_in(rows) for rows in scored]

    def images(self) -> dict[str, Path]:
        """Return the file of every image of the release by image id."""
        return {name: f for one in self.released_images() for name, f in one.files.items()}

    def _files(self, rows: Iterable[Row]) -> dict[str, Path]:
        """The files to load by image id: released images or their reduced copies."""
        files = {name: file for row in rows for name, file in self.images_shown(row).items()}
        if self.resized is None:
            return files
        return {name: resized_path(self.resized, name) for name in files}

    @cached_property
    def training_sample(self) -> list[torch.Tensor]:
        """Up to 200 training images (3, H, W) uint8, spread over the rows, not augmented."""
        files = list(self._files(self.rows("train")).values())
        spread = files[:: -(-len(files) // 200) or 1]
        return [read_square(file, self.image_size, self.max_image_pixels) for file in spread]

    # ---- tokenizer ----------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of an adopted checkpoint, else the configured one."""
        if self._tokenizer is None:
            if self.tokenizer_name == "words":
                texts = corpus_texts(self.tokenizer_corpora, self.training_texts())
                self._tokenizer = Tokenizer.from_texts(texts)
            else:
                self._tokenizer = Tokenizer.from_pretrained(self.tokenizer_name)
        return self._tokenizer

    def adopt_tokenizer(self, text: str) -> None:
        """Use a checkpoint's tokenizer, given as JSON, so that ids mean the same as in training.

        A UserError is raised if it differs from a pretrained tokenizer that this data module names.
        """
        adopted = Tokenizer.from_json(text)
        if self.tokenizer_name == "words":
            self._tokenizer = adopted
        # Compare what the installed library writes: another version may have stored the text.
        elif adopted.to_json() != self.tokenizer.to_json():
            raise UserError(
                f"The checkpoint's tokenizer differs from {self.tokenizer_name!r}, so its ids "
                "mean other words: give the tokenizer it was trained with as "
                "--data.init_args.tokenizer."
            )

    def answer_space(self) -> AnswerSpace:
        """Return what a checkpoint stores about the texts; for studies, tokenizer and selection."""
        tokenizer = self.tokenizer
        return AnswerSpace(
            protocol="clean",
            candidates=(),
            candidate_ids=(),
            vocabulary=(),
            vocabulary_ids=(),
            tokenizer=tokenizer.to_json(),
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            table_size=tokenizer.table_size,
            selection=self.selection(),
        )

    # ---- setup --------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Read the release and print its warnings; an empty required split is a ``UserError``."""
        splits = self._needed(stage)
        for split in splits:
            if not self.rows(split):
                why = self.splits.absent.get(split) or "; ".join(self._dropped())
                raise UserError(
                    f"{self.where} has no {split} {self.kind} that can be used "
                    f"({why or 'none was found'}): run `python -m amif_lightning audit --data "
                    f"{type(self).__name__} --data.init_args.root {self.root}` to see what was "
                    "found."
                )
        for sentence in self.warnings():
            rank_zero_info(f"{self.dataset}: {sentence}")
        if self.resized is not None:
            needed = max(self.image_size, self._train_transform.decoded_size)
            shown = (n for split in splits for r in self.rows(split) for n in self.images_shown(r))
            check_copies(self.resized, shown, needed, type(self).__name__)

    @staticmethod
    def _needed(stage: str) -> tuple[SplitName, ...]:
        if stage == "fit":
            return ("train", "validation")
        return ("validation",) if stage == "validate" else ("test",)

    # ---- loaders ------------------------------------------------------------------------------

    #: Whether to drop an incomplete last training batch.
    drop_last: bool

    def _train_data(self) -> Any:
        """The training data set, indexed by ``(epoch, index)``."""
        raise NotImplementedError

    @abstractmethod
    def _evaluation_data(self, rows: Sequence[Row], cache: DecodedImages | None = None) -> Any:
        """Rows without augmentation, in order."""

    @property
    @abstractmethod
    def _collate(self) -> Callable[[Sequence[Any]], Any]:
        """Joins samples into a batch; must be picklable for spawned workers."""

    # Training images are decoded larger, for the crops. Validation needs its own cache, since
    # reducing its images twice would change their pixels.
    @cached_property
    def _train_cache(self) -> DecodedImages | None:
        return self._cached(self.splits.train, self._train_transform.decoded_size)

    @cached_property
    def _validation_cache(self) -> DecodedImages | None:
        return self._cached(self.splits.validation, self.image_size)

    def _cached(self, rows: Sequence[Row], size: int) -> DecodedImages | None:
        if not self.cache_images:
            return None
        return DecodedImages(self._files(rows).values(), size, self.max_image_pixels)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load shuffled samples; an interrupted epoch continues after its last trained batch."""
        data = self._train_data()
        sampler = EpochIndexSampler(range(len(data)), *self._world(), seed=self.seed)
        loader = self._loader(data, self.batch_size, sampler, drop_last=self.drop_last)
        if self.trainer is not None:
            # Workers start to iterate before Lightning sets the epoch, so it is set here.
            epoch, done = position(self.trainer, len(loader))
            sampler.set_epoch(epoch)
            sampler.skip = done * self.batch_size
            steps = -(-len(loader) // self.trainer.accumulate_grad_batches)
            if steps < FEW_STEPS and epoch == done == 0:
                rank_zero_info(
                    f"{self.dataset}: an epoch has only {steps} training steps (fewer than "
                    f"{FEW_STEPS}), so give a lower --data.init_args.batch_size than "
                    f"{self.batch_size} or raise --trainer.max_epochs"
                )
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Load each validation row once over all processes."""
        rows = self._validation_rows()
        return self._evaluation_loader(self._evaluation_data(rows, self._validation_cache))

    def _validation_rows(self) -> Sequence[Row]:
        return self.rows("validation")

    def test_dataloader(self) -> Any:
        """Load each test row once over all processes."""
        return self.predict_dataloader()

    def predict_dataloader(self) -> DataLoader[Any]:
        """Load each test row once over all processes."""
        return self._evaluation_loader(self._evaluation_data(self.rows("test")))

    def _evaluation_loader(self, data: Any) -> DataLoader[Any]:
        sampler = ShardSampler(range(len(data)), *self._world())
        return self._loader(data, self.eval_batch_size, sampler)

    def _loader(
        self,
        data: Any,
        batch_size: int,
        sampler: EpochIndexSampler | ShardSampler,
        *,
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=self._collate,
            drop_last=drop_last,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _world(self) -> tuple[int, int]:
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank
