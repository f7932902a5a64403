"""Torch data set of studies as two views and a text, and the collation of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from amif_lightning.batch import StudyBatch, TeacherFeatures, pad_tokens
from amif_lightning.data.preprocessing.images import MAX_PIXELS
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import DecodedImages, ImageTransform, read_square
from amif_lightning.data.schema.studies import StudyRow, draw_views, fixed_views, kind_of
from amif_lightning.data.teacher.cache import Embeddings
from amif_lightning.seeding import stable_seed


@dataclass(frozen=True)
class StudySample:
    """One study with two views."""

    row: StudyRow
    position: int  # in the split
    views: tuple[Tensor, Tensor]  # each (3, H, W), float
    shown: tuple[str, str]  # image ids of the views
    second_frontal: bool  # view 2 is frontal and view 1 is not


class StudyViews(Dataset[StudySample]):
    """Studies of one split, each with two views.

    ``files`` are image files by image id. ``shuffle`` draws views and augmentation anew each epoch.
    """

    def __init__(
        self,
        rows: Sequence[StudyRow],
        files: Mapping[str, Path],
        transform: ImageTransform,
        *,
        shuffle: bool = False,
        seed: int = 0,
        cache: DecodedImages | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.rows, self.files, self.transform = rows, files, transform
        self.max_pixels = max_pixels
        self.shuffle, self.seed, self.cache = shuffle, seed, cache

    def __len__(self) -> int:
        return len(self.rows)

    def sources(self) -> list[str]:
        """Return the data set's name of each study."""
        return [row.study_id.partition("/")[0] for row in self.rows]

    def __getitem__(self, key: int | tuple[int, int]) -> StudySample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        row = self.rows[index]
        kinds = [image.view for image in row.images]
        if self.shuffle:
            chosen = draw_views(kinds, stable_seed("views", self.seed, epoch, index))
        else:
            chosen = fixed_views(kinds)
        first, second = (row.images[place] for place in chosen)
        pixels = self._pixels(first.image_id)
        again = pixels if second == first else self._pixels(second.image_id)
        return StudySample(
            row=row,
            position=index,
            views=(
                self.transform(pixels, stable_seed(self.seed, epoch, index)),
                self.transform(again, stable_seed("view 2", self.seed, epoch, index)),
            ),
            shown=(first.image_id, second.image_id),
            second_frontal=kind_of(second.view) == "frontal" != kind_of(first.view),
        )

    def _pixels(self, image_id: str) -> Tensor:
        path = self.files[image_id]
        if self.cache is not None:
            return self.cache.get(path)
        return read_square(path, self.transform.decoded_size, self.max_pixels)


def text_identity(text: str) -> int:
    """Return a 63-bit hash of the normalised text."""
    return stable_seed("text", normalise(text))


@dataclass(frozen=True)
class StudyCollator:
    """Join studies into one batch; ``max_text_tokens`` includes [CLS] and [SEP]."""

    tokenizer: Tokenizer
    max_text_tokens: int
    teacher: Embeddings | None = None

    def __call__(self, samples: Sequence[StudySample]) -> StudyBatch:
        """Tokenise and pad the texts of B studies and look up their teacher features."""
        rows = [sample.row for sample in samples]
        study_ids = [row.study_id for row in rows]
        first_ids, second_ids = ([s.shown[view] for s in samples] for view in (0, 1))
        study = [stable_seed("study", name) for name in study_ids]
        relevance = [
            stable_seed("finding", row.finding) if row.finding else own
            for row, own in zip(rows, study, strict=True)
        ]
        tokens = [self.tokenizer.encode(row.text, self.max_text_tokens) for row in rows]
        features = None
        if self.teacher is not None:
            features = TeacherFeatures(
                first=self.teacher.image(first_ids),
                second=self.teacher.image(second_ids),
                text=self.teacher.text(study_ids),
                scale=self.teacher.scale,
            )
        return StudyBatch(
            first=torch.stack([sample.views[0] for sample in samples]),
            second=torch.stack([sample.views[1] for sample in samples]),
            text=pad_tokens(tokens, self.tokenizer.pad_id),
            study=torch.tensor(study),
            text_id=torch.tensor([text_identity(row.text) for row in rows]),
            relevance=torch.tensor(relevance),
            position=torch.tensor([sample.position for sample in samples]),
            teacher=features,
            second_frontal=torch.tensor([sample.second_frontal for sample in samples]),
            study_ids=study_ids,
            first_ids=first_ids,
            second_ids=second_ids,
            texts=[row.text for row in rows],
        )
