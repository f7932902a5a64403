"""Torch data set of studies as two views and a text, and how a batch is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from amif_lightning.batch import StudyBatch, TeacherFeatures, pad_tokens
from amif_lightning.data.files.reduced_copies import resized_path
from amif_lightning.data.loading.question_dataset import ImageCache
from amif_lightning.data.preprocessing.image_tensors import to_square
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import ImageTransform
from amif_lightning.data.schema.studies import StudyImage, StudyRow
from amif_lightning.data.schema.views import draw_views, fixed_views, kind_of
from amif_lightning.seeding import stable_seed


class TeacherTable(Protocol):
    """Features of a frozen teacher, looked up by id; :class:`Embeddings` is one."""

    @property
    def scale(self) -> float:
        """The teacher's logit scale, a natural logarithm."""

    def image(self, ids: Sequence[str]) -> Tensor:
        """Features (B, T) of images."""

    def text(self, ids: Sequence[str]) -> Tensor:
        """Features (B, T) of the texts of studies."""


@dataclass(frozen=True)
class StudySample:
    """One study as it is shown once.

    Attributes:
        first: (3, H, W) float, view 1.
        second: (3, H, W) float, view 2.
        row: The study.
        shown: Identities of the images of both views.
        second_frontal: Whether view 2 is a frontal image and view 1 is not.
        text: Token ids of the text.
        position: Place in the split.
    """

    first: Tensor
    second: Tensor
    row: StudyRow
    shown: tuple[str, str]
    second_frontal: bool
    text: list[int]
    position: int


class StudyViews(Dataset[StudySample]):
    """Studies of one split, each with two views.

    Args:
        rows: The split's studies, each with an image.
        transform: StudyImage to tensor.
        tokenizer: Text to token ids.
        max_text_tokens: Most ids of a text, [CLS] and [SEP] included.
        shuffle: Whether views (and augmentation) are drawn anew each epoch.
        seed: Seed of views and augmentation.
        cache: Decoded images shared between workers, and each image's row in it.
        resized: Folder of reduced copies that are read instead; None: the released images.
    """

    def __init__(
        self,
        rows: Sequence[StudyRow],
        transform: ImageTransform,
        tokenizer: Tokenizer,
        max_text_tokens: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        cache: ImageCache | None = None,
        resized: Path | None = None,
    ) -> None:
        self.rows, self.transform, self.tokenizer = rows, transform, tokenizer
        self.max_text_tokens = max_text_tokens
        self.shuffle, self.seed, self.cache, self.resized = shuffle, seed, cache, resized

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> StudySample:
        """The study ``index``, or ``(epoch, index)`` for training."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        row = self.rows[index]
        views = [image.view for image in row.images]
        if self.shuffle:
            chosen = draw_views(views, stable_seed("views", self.seed, epoch, index))
        else:
            chosen = fixed_views(views)
        first, second = (row.images[i] for i in chosen)
        pixels = self._pixels(first)
        return StudySample(
            first=self.transform(pixels, stable_seed(self.seed, epoch, index)),
            second=self.transform(
                pixels if second == first else self._pixels(second),
                stable_seed("view 2", self.seed, epoch, index),
            ),
            row=row,
            shown=(first.image_id, second.image_id),
            second_frontal=[kind_of(view.view) == "frontal" for view in (first, second)]
            == [False, True],
            text=self.tokenizer.encode(row.text, self.max_text_tokens),
            position=index,
        )

    def _pixels(self, image: StudyImage) -> Tensor:
        file = image.file
        if self.resized is not None:
            file = resized_path(self.resized, image.image_id)
        if self.cache is not None:
            images, position = self.cache
            return images.get(position[image.image_id], file)
        size = self.transform.decoded_size
        return to_square(decode_image(file, size), size)


def text_identity(text: str) -> int:
    """63-bit identity of a text: equal for texts that are equal once normalised."""
    return stable_seed("text", normalise(text))


def make_study_batch(
    samples: Sequence[StudySample], pad_id: int, teacher: TeacherTable | None = None
) -> StudyBatch:
    """Join studies into one batch.

    Args:
        samples: B studies.
        pad_id: Token id written on padding.
        teacher: Where the teacher's features are looked up; None leaves them out.
    """
    rows = [sample.row for sample in samples]
    first_ids, second_ids = ([s.shown[side] for s in samples] for side in (0, 1))
    study = [stable_seed("study", row.study_id) for row in rows]
    features = None
    if teacher is not None:
        features = TeacherFeatures(
            first=teacher.image(first_ids),
            second=teacher.image(second_ids),
            text=teacher.text([row.study_id for row in rows]),
            scale=teacher.scale,
        )
    return StudyBatch(
        first=torch.stack([sample.first for sample in samples]),
        second=torch.stack([sample.second for sample in samples]),
        text=pad_tokens([sample.text for sample in samples], pad_id),
        study=torch.tensor(study),
        text_id=torch.tensor([text_identity(row.text) for row in rows]),
        relevance=torch.tensor(
            [
                stable_seed("finding", row.finding) if row.finding else own
                for row, own in zip(rows, study, strict=True)
            ]
        ),
        position=torch.tensor([sample.position for sample in samples]),
        teacher=features,
        second_frontal=torch.tensor([sample.second_frontal for sample in samples]),
        study_ids=[row.study_id for row in rows],
        first_ids=first_ids,
        second_ids=second_ids,
        texts=[row.text for row in rows],
    )
