"""What all data modules share that read images with texts, whether questions or reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.arguments import check_minimum
from amif_lightning.data.files.reduced_copies import check_copies
from amif_lightning.data.leakage.dataset_images import DatasetImages
from amif_lightning.data.loading.question_dataset import ImageCache
from amif_lightning.data.loading.samplers import EpochIndexSampler, ShardSampler, position
from amif_lightning.data.preprocessing.image_tensors import DecodedImages
from amif_lightning.data.preprocessing.tokenizer import Tokenizer, corpus_texts
from amif_lightning.data.preprocessing.transforms import Augmentation, ImageTransform
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.data.schema.studies import StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import describe

Row = TypeVar("Row", VQAExample, StudyRow)


class TextDataModule(L.LightningDataModule, ABC, Generic[Row]):
    """Images with texts: one tokenizer, one size of image, loaders that resume and share work.

    Args:
        root: Folder of the data set.
        split_seed: Seed of the validation hold-out (a hash of image identity and this number).
        validation_fraction: Share of training images held out where no validation split is left.
        batch_size: Images (studies) per training step and process.
        eval_batch_size: Images (studies) per step in validation and test.
        num_workers: Loader processes, which decode, augment and tokenise.
        image_size: Side of the square network input in pixels.
        tokenizer: ``words`` (a fixed table of 4096 slots built from texts, no download), or the
            hub name or folder of a text encoder.
        tokenizer_corpora: For ``words``: ``train`` (this data set's training texts) or text files
            with one text a line. Both stages of a run must name the same.
        augmentation: ``none``, ``mild``, ``paper`` (fine-tuning), ``paper_pretrain`` or
            ``released_pretrain`` (see data/preprocessing/transforms.py).
        cache_images: Keep decoded training and validation images in shared memory.
            The pixels are those that decoding anew would give.
        resized: Folder of reduced copies that ``prepare data --resize`` made, read instead of the
            released images (see data/files/reduced_copies.py); empty: the released ones.
        seed: Seed of order, grouping and augmentation.

    Raises:
        UserError: If a number is out of range or the augmentation is unknown.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let ``help`` and editors show every argument of a subclass."""
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
            }
        )
        ImageTransform(image_size, augmentation)  # an unknown augmentation is an error at once
        self.root = Path(root)
        self.split_seed, self.validation_fraction = split_seed, validation_fraction
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.image_size = num_workers, image_size
        self.tokenizer_name = tokenizer
        self.tokenizer_corpora = tokenizer_corpora or ["train"]
        self.augmentation, self.cache_images, self.seed = augmentation, cache_images, seed
        self.resized = Path(resized) if resized else None
        self._tokenizer: Tokenizer | None = None

    # ---- what a data set is -------------------------------------------------------------------

    #: What its rows are.
    kind: Literal["questions", "studies"]

    @abstractmethod
    def read_release(self) -> Release[Row]:
        """Read all rows of the release under ``root``; no images are opened."""

    @cached_property
    def release(self) -> Release[Row]:
        """The release's rows."""
        return self.read_release()

    @cached_property
    @abstractmethod
    def splits(self) -> Any:
        """Which rows train, validate and test, and which are dropped for what reason."""

    @property
    def dataset(self) -> str:
        """Name of the data set, as ids, messages and records write it."""
        return self.release.dataset

    @property
    def where(self) -> str:
        """The data set and its folder, for messages."""
        return f"{self.dataset} under {self.root}"

    @property
    def absent(self) -> Mapping[str, str]:
        """Why a split of the release is not on disk, by its name."""
        return self.release.absent

    @property
    def protocol_label(self) -> str:
        """The protocol as records name it."""
        return "clean"

    def rows(self, split: SplitName) -> tuple[Row, ...]:
        """The rows of a split; for studies, a batch's ``position`` is a place in them."""
        found: tuple[Row, ...] = getattr(self.splits, split)
        return found

    @abstractmethod
    def training_texts(self) -> list[str]:
        """Texts that the ``words`` table is built from, none of a validation or test split."""

    def selection(self) -> dict[str, str | int | float | bool]:
        """Plain values that say which rows trained and chose the weights.

        A checkpoint keeps them, so that no one scores it on rows that it was chosen on.
        """
        return {
            "dataset": self.dataset,
            "layout": self.release.layout,
            "split_seed": self.split_seed,
            "validation_fraction": self.validation_fraction,
        }

    def warnings(self) -> list[str]:
        """Sentences that every run and record repeats: the release's notes, what is dropped."""
        return [*self._notes(), *self._dropped()]

    def _notes(self) -> Sequence[str]:
        return self.release.notes

    def _dropped(self) -> list[str]:
        counts = Counter(row.reason for row in self.splits.dropped)
        what = "rows" if self.kind == "questions" else "studies"
        return [f"{number} {what} dropped: {reason}" for reason, number in counts.items()]

    # ---- images -------------------------------------------------------------------------------

    @abstractmethod
    def images_shown(self, row: Row) -> dict[str, Path]:
        """Where the images of a row lie, by ``<data set>/<path in the release>``."""

    def images_in(self, rows: Iterable[Row]) -> DatasetImages:
        """The images of some rows."""
        return DatasetImages.of((row.row_id, self.images_shown(row)) for row in rows)

    def images_of(self, split: SplitName) -> DatasetImages:
        """The images of one split in the role that it has for scoring."""
        return self.images_in(self.rows(split))

    def trained_images(self) -> DatasetImages:
        """The images that weights would see."""
        return self.images_in(self.splits.train)

    def released_images(self) -> list[DatasetImages]:
        """All images of the release, split by split."""
        return [self.images_in(rows) for rows in self.release.splits.values()]

    def scored_images(self) -> list[DatasetImages]:
        """The images that choose or score weights: released splits and the hold-out."""
        scored: list[Iterable[Row]] = [self.splits.validation]
        scored += [rows for split, rows in self.release.splits.items() if split != "train"]
        return [self.images_in(rows) for rows in scored]

    def images(self) -> dict[str, Path]:
        """Where every image of the release lies, by ``<data set>/<path in the release>``."""
        return {name: f for one in self.released_images() for name, f in one.files.items()}

    # ---- tokenizer ----------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer: a checkpoint's where one was adopted, else the configured one."""
        if self._tokenizer is None:
            if self.tokenizer_name == "words":
                texts = corpus_texts(self.tokenizer_corpora, self.training_texts())
                self._tokenizer = Tokenizer.from_texts(texts)
            else:
                self._tokenizer = Tokenizer.from_pretrained(self.tokenizer_name)
        return self._tokenizer

    def adopt_tokenizer(self, text: str) -> None:
        """Use a checkpoint's tokenizer, so that ids mean the strings that the weights learned.

        Args:
            text: The tokenizer as JSON, from :class:`AnswerSpace`.

        Raises:
            UserError: If this data module names a pretrained tokenizer and the two differ.
        """
        adopted = Tokenizer.from_json(text)
        if self.tokenizer_name != "words":
            # Both as the installed library writes them: another version may have stored the text.
            if adopted.to_json() != self.tokenizer.to_json():
                raise UserError(
                    f"The checkpoint's tokenizer differs from {self.tokenizer_name!r}, so its ids "
                    "mean other words: give the tokenizer it was trained with as "
                    "--data.init_args.tokenizer."
                )
            return
        self._tokenizer = adopted

    def answer_space(self) -> AnswerSpace:
        """What a checkpoint must keep of the texts: of studies, the tokenizer and the selection."""
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

    # ---- Lightning ----------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Read the release and say what was left out; may be called again.

        Raises:
            UserError: If a split that is needed is empty.
        """
        splits = self._needed(stage)
        for split in splits:
            if not self.rows(split):
                raise UserError(self._emptiness(split))
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

    def _emptiness(self, split: SplitName) -> str:
        why = self.splits.absent.get(split) or "; ".join(self._dropped()) or "none was found"
        return (
            f"{self.where} has no {split} {self.kind} that can be used ({why}): run `python -m "
            f"amif_lightning audit --data {type(self).__name__} --data.init_args.root {self.root}` "
            "to see what was found."
        )

    @property
    def _train_transform(self) -> ImageTransform:
        return ImageTransform(self.image_size, self.augmentation)

    @abstractmethod
    def _cache_keys(self, rows: Iterable[Row]) -> Iterable[str]:
        """The images of rows as the torch data set looks them up."""

    # Training and validation need a cache each: training images are decoded larger, for the crops,
    # and a validation image reduced twice would not be the one that an uncached run sees.
    @cached_property
    def _train_cache(self) -> ImageCache | None:
        return self._cached(self.splits.train, self._train_transform.decoded_size)

    @cached_property
    def _validation_cache(self) -> ImageCache | None:
        return self._cached(self.splits.validation, self.image_size)

    def _cached(self, rows: Sequence[Row], size: int) -> ImageCache | None:
        """Shared memory for the images of rows, decoded to squares of ``size`` pixels."""
        if not self.cache_images:
            return None
        distinct = dict.fromkeys(self._cache_keys(rows))
        return DecodedImages(len(distinct), size), {image: i for i, image in enumerate(distinct)}

    def _train_loader(
        self,
        data: Dataset[Any],
        samples: int,
        collate: Callable[[Sequence[Any]], Any],
        *,
        drop_last: bool,
    ) -> DataLoader[Any]:
        """Shuffled samples; an interrupted epoch continues with those not yet seen.

        Args:
            data: The data set; it is asked for ``(epoch, index)``.
            samples: Its length.
            collate: Makes a batch of samples.
            drop_last: Whether a last batch that is not full is left out.
        """
        sampler = EpochIndexSampler(range(samples), *self._world(), seed=self.seed)
        if self.trainer is not None:
            # Workers start to iterate before Lightning sets the epoch, so it is set here.
            steps = len(sampler) // self.batch_size
            if not drop_last:
                steps = -(-len(sampler) // self.batch_size)
            epoch, done = position(self.trainer, steps)
            sampler.set_epoch(epoch)
            sampler.skip = done * self.batch_size
        return self._loader(data, self.batch_size, sampler, collate, drop_last=drop_last)

    def _shard_loader(
        self, data: Dataset[Any], samples: int, collate: Callable[[Sequence[Any]], Any]
    ) -> DataLoader[Any]:
        """Every sample once over all processes, in order."""
        sampler = ShardSampler(range(samples), *self._world())
        return self._loader(data, self.eval_batch_size, sampler, collate)

    def _loader(
        self,
        data: Dataset[Any],
        batch_size: int,
        sampler: EpochIndexSampler | ShardSampler,
        collate: Callable[[Sequence[Any]], Any],
        *,
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            # A partial of a function, not a lambda: workers started by spawn must unpickle it.
            collate_fn=collate,
            drop_last=drop_last,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _world(self) -> tuple[int, int]:
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank
