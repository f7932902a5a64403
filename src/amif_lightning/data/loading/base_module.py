"""What all data modules share that read images with texts, whether questions or reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.arguments import check_minimum
from amif_lightning.data.files.reduced_copies import check_copies
from amif_lightning.data.loading.question_dataset import ImageCache
from amif_lightning.data.loading.samplers import EpochIndexSampler, ShardSampler, position
from amif_lightning.data.preprocessing.image_tensors import DecodedImages
from amif_lightning.data.preprocessing.tokenizer import Tokenizer, corpus_texts
from amif_lightning.data.preprocessing.transforms import Augmentation, ImageTransform
from amif_lightning.errors import UserError
from amif_lightning.signatures import describe


class TextDataModule(L.LightningDataModule, ABC):
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
        self._counted: tuple[str, ...] = ()  # the splits whose cut texts setup() has counted

    # ---- what a data set is -------------------------------------------------------------------

    @property
    @abstractmethod
    def dataset(self) -> str:
        """Name of the data set, as ids, messages and records write it."""

    @abstractmethod
    def training_texts(self) -> list[str]:
        """Texts that the ``words`` table is built from, none of a validation or test split."""

    @abstractmethod
    def answer_space(self) -> AnswerSpace:
        """What a checkpoint must keep of the texts, as token ids of the present tokenizer."""

    @abstractmethod
    def selection(self) -> dict[str, str | int | float | bool]:
        """Plain values that say which rows trained and chose the weights.

        A checkpoint keeps them, so that no one scores it on rows that it was chosen on.
        """

    @abstractmethod
    def images(self) -> dict[str, Path]:
        """Where every image of the release lies, by ``<data set>/<path in the release>``."""

    @abstractmethod
    def _report_truncation(self) -> None:
        """Print how many texts of the splits in use lose their ends to the token limits."""

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
        before, self._tokenizer = self._tokenizer, adopted
        if before is not None and self._counted and before.to_json() != adopted.to_json():
            rank_zero_info(f"{self.dataset}: the checkpoint's tokenizer is used")
            self._report_truncation()

    # ---- images and loaders -----------------------------------------------------------------

    def _space_without_answers(self) -> AnswerSpace:
        """The tokenizer and the selection, for data that asks nothing."""
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

    @property
    def _train_transform(self) -> ImageTransform:
        return ImageTransform(self.image_size, self.augmentation)

    def _check_resized(self, image_ids: Iterable[str]) -> None:
        """Refuse a folder of reduced copies that cannot serve this run."""
        if self.resized is not None:
            needed = max(self.image_size, self._train_transform.decoded_size)
            check_copies(self.resized, image_ids, needed, type(self).__name__)

    def _cached(self, images: Iterable[str], size: int) -> ImageCache | None:
        """Shared memory for the images of these ids, decoded to squares of ``size`` pixels.

        Training and validation need one each: training images are decoded larger, for the crops,
        and a validation image reduced twice would not be the one that an uncached run sees.
        """
        if not self.cache_images:
            return None
        distinct = dict.fromkeys(images)
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
