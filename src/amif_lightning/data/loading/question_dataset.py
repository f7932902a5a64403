"""Torch data sets of questions grouped by image, and how a batch is made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from amif_lightning.batch import VQABatch, pad_tokens
from amif_lightning.data.preprocessing.image_tensors import DecodedImages, to_square
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import ImageTransform
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.data.schema.subsets import subsets_of
from amif_lightning.seeding import stable_seed

# Decoded images shared between workers, and each image's row in them.
ImageCache = tuple[DecodedImages, dict[str, int]]


@dataclass(frozen=True)
class Encoder:
    """Turns rows into token ids and stratum membership.

    Attributes:
        tokenizer: The tokenizer of the run.
        max_question_tokens: Most ids of a question, [CLS] and [SEP] included.
        max_answer_tokens: Most ids of an answer, [CLS] and [SEP] included.
        strata: Names of the strata, in the order of the batch's columns.
    """

    tokenizer: Tokenizer
    max_question_tokens: int
    max_answer_tokens: int
    strata: tuple[str, ...]

    def question(self, row: VQAExample) -> list[int]:
        """Token ids of the question."""
        return self.tokenizer.encode(row.question, self.max_question_tokens)

    def answer(self, row: VQAExample) -> list[int]:
        """Token ids of the usual answer."""
        return self.tokenizer.encode(row.references[0], self.max_answer_tokens)

    def membership(self, row: VQAExample) -> list[bool]:
        """Which strata the row belongs to."""
        mine = set(subsets_of(row))
        return [name in mine for name in self.strata]


@dataclass(frozen=True)
class QuestionSample:
    """One image and the questions asked of it in this batch.

    Attributes:
        image: (3, H, W) float.
        image_key: Identity of the image shown.
        rows: The questions.
        questions: Their token ids.
        answers: Token ids of their usual answers.
        membership: Their strata.
    """

    image: Tensor
    image_key: str
    rows: list[VQAExample]
    questions: list[list[int]]
    answers: list[list[int]]
    membership: list[list[bool]]


class QuestionGroups(Dataset[QuestionSample]):
    """Questions of one split, grouped so that an image is decoded and encoded once for several.

    An image with n questions gives ``ceil(n / per_image)`` groups. Which questions share a group is
    drawn anew each epoch when ``shuffle`` is on, so every question is asked once an epoch.

    Args:
        rows: The split's questions.
        file_of: Where the image of a row lies.
        transform: StudyImage to tensor.
        encoder: Text to token ids.
        per_image: Most questions of one image in a group.
        shuffle: Whether groups (and augmentation) change with the epoch.
        seed: Seed of groups and augmentation.
        cache: Decoded images shared between workers, and each image's row in it.
        shown: Shows another image instead (for the control): image id to image id.
    """

    def __init__(
        self,
        rows: Sequence[VQAExample],
        file_of: Callable[[VQAExample], Path],
        transform: ImageTransform,
        encoder: Encoder,
        per_image: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        cache: ImageCache | None = None,
        shown: dict[str, str] | None = None,
    ) -> None:
        self.transform, self.encoder = transform, encoder
        self.per_image, self.shuffle, self.seed = per_image, shuffle, seed
        self.cache, self.shown = cache, shown
        self._of_image: dict[str, list[VQAExample]] = defaultdict(list)
        for row in rows:
            self._of_image[row.image_key].append(row)
        # Files now, not the function: workers started by spawn must unpickle this data set.
        self._paths = {image: file_of(group[0]) for image, group in self._of_image.items()}
        self._groups = [
            (image, chunk)
            for image, group in self._of_image.items()
            for chunk in range(-(-len(group) // per_image))
        ]

    def __len__(self) -> int:
        return len(self._groups)

    def sources(self) -> list[str]:
        """For each group the data set it comes from, in a mixture of several."""
        return [self._of_image[image][0].source for image, _ in self._groups]

    def __getitem__(self, key: int | tuple[int, int]) -> QuestionSample:
        """The group ``index``, or ``(epoch, index)`` for training."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image_key, chunk = self._groups[index]
        rows = self._of_image[image_key]
        if self.shuffle and len(rows) > self.per_image:
            generator = torch.Generator().manual_seed(stable_seed(self.seed, epoch, image_key))
            rows = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        rows = rows[chunk * self.per_image : (chunk + 1) * self.per_image]
        shown = self.shown[image_key] if self.shown is not None else image_key
        pixels = self._pixels(shown)
        return QuestionSample(
            image=self.transform(pixels, stable_seed(self.seed, epoch, index)),
            image_key=shown,
            rows=rows,
            questions=[self.encoder.question(row) for row in rows],
            answers=[self.encoder.answer(row) for row in rows],
            membership=[self.encoder.membership(row) for row in rows],
        )

    def _pixels(self, image_key: str) -> Tensor:
        path = self._paths[image_key]
        if self.cache is not None:
            images, position = self.cache
            return images.get(position[image_key], path)
        size = self.transform.decoded_size
        return to_square(decode_image(path, size), size)


def other_images(image_keys: Sequence[str], seed: int) -> dict[str, str]:
    """A seeded permutation of images that leaves none in its place (for the control).

    With a single image there is no other, and it stays.
    """
    distinct = sorted(set(image_keys))
    generator = torch.Generator().manual_seed(stable_seed("control", seed))
    ring = [distinct[i] for i in torch.randperm(len(distinct), generator=generator).tolist()]
    return dict(zip(ring, ring[1:] + ring[:1], strict=True))


def make_batch(samples: Sequence[QuestionSample], pad_id: int) -> VQABatch:
    """Join groups into one batch, each image once."""
    rows = [row for sample in samples for row in sample.rows]
    return VQABatch(
        images=torch.stack([sample.image for sample in samples]),
        image_index=torch.repeat_interleave(
            torch.arange(len(samples)), torch.tensor([len(sample.rows) for sample in samples])
        ),
        question=pad_tokens([ids for sample in samples for ids in sample.questions], pad_id),
        answer=pad_tokens([ids for sample in samples for ids in sample.answers], pad_id),
        strata=torch.tensor([flags for sample in samples for flags in sample.membership]),
        question_ids=[row.question_id for row in rows],
        references=[row.references for row in rows],
        image_keys=[sample.image_key for sample in samples for _ in sample.rows],
        questions=[row.question for row in rows],
    )
