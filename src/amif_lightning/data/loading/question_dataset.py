"""Torch data set of questions grouped by image, and the collation of batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from amif_lightning.batch import VQABatch, pad_tokens
from amif_lightning.data.loading.token_cache import TokenTable, padded_states
from amif_lightning.data.preprocessing.images import BLANK_IMAGE, MAX_PIXELS
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import DecodedImages, ImageTransform, read_square
from amif_lightning.data.schema.answers import subsets_of
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.seeding import stable_seed

#: Image key of the blank image, which no path of a release equals.
BLANK = "\0blank"


@dataclass(frozen=True)
class QuestionSample:
    """One image (3, H, W), float, or its cached tokens (P, D), and its questions in a batch."""

    image: Tensor
    image_key: str
    rows: list[VQAExample]


class QuestionGroups(Dataset[QuestionSample]):
    """Questions of one split, grouped by image to decode and encode each image once per group.

    An image with n questions gives ``ceil(n / per_image)`` groups. ``shuffle`` regroups and
    augments anew each epoch, from ``seed``; every question occurs once per epoch. ``shown`` maps
    each image key to the one shown instead in a control, :data:`BLANK` to the blank image.
    ``tokens`` are cached image tokens, which replace the images.
    """

    def __init__(
        self,
        rows: Sequence[VQAExample],
        file_of: Callable[[VQAExample], Path],
        transform: ImageTransform,
        per_image: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        cache: DecodedImages | None = None,
        shown: dict[str, str] | None = None,
        max_pixels: int = MAX_PIXELS,
        tokens: TokenTable[Path] | None = None,
    ) -> None:
        self.tokens = tokens
        self.transform, self.per_image, self.max_pixels = transform, per_image, max_pixels
        self.shuffle, self.seed, self.cache, self.shown = shuffle, seed, cache, shown
        self._of_image: dict[str, list[VQAExample]] = defaultdict(list)
        for row in rows:
            self._of_image[row.image_key].append(row)
        # Keep files, not the function: spawned workers must unpickle this data set.
        self._files = {image: file_of(group[0]) for image, group in self._of_image.items()}
        self._files[BLANK] = BLANK_IMAGE
        self._groups = [
            (image, chunk)
            for image, group in self._of_image.items()
            for chunk in range(-(-len(group) // per_image))
        ]

    def __len__(self) -> int:
        return len(self._groups)

    def sources(self) -> list[str]:
        """Return the data set's name of each group."""
        firsts = (self._of_image[image][0] for image, _ in self._groups)
        return [row.question_id.partition("/")[0] for row in firsts]

    def __getitem__(self, key: int | tuple[int, int]) -> QuestionSample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image_key, chunk = self._groups[index]
        rows = self._of_image[image_key]
        if self.shuffle and len(rows) > self.per_image:
            generator = torch.Generator().manual_seed(stable_seed(self.seed, epoch, image_key))
            rows = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        shown = self.shown[image_key] if self.shown is not None else image_key
        return QuestionSample(
            image=self._image(self._files[shown], stable_seed(self.seed, epoch, index)),
            image_key=shown,
            rows=rows[chunk * self.per_image : (chunk + 1) * self.per_image],
        )

    def pixels(self, image_key: str) -> Tensor:
        """Return an image (3, H, W) even if its tokens are cached."""
        return self._pixels(self._files[image_key], 0)

    def _image(self, path: Path, seed: int) -> Tensor:
        return self._pixels(path, seed) if self.tokens is None else self.tokens[path]

    def _pixels(self, path: Path, seed: int) -> Tensor:
        size = self.transform.decoded_size
        if self.cache is None:
            pixels = read_square(path, size, self.max_pixels)
        else:
            pixels = self.cache.get(path)
        return self.transform(pixels, seed)


def other_images(image_keys: Sequence[str], seed: int) -> dict[str, str]:
    """Draw a permutation of images without fixed points, for the shuffled-image control.

    A single image maps to itself.
    """
    distinct = sorted(set(image_keys))
    generator = torch.Generator().manual_seed(stable_seed("control", seed))
    ring = [distinct[i] for i in torch.randperm(len(distinct), generator=generator).tolist()]
    return dict(zip(ring, ring[1:] + ring[:1], strict=True))


@dataclass(frozen=True)
class QuestionCollator:
    """Join groups into one batch, each image once; the limits include [CLS] and [SEP]."""

    tokenizer: Tokenizer
    max_question_tokens: int
    max_answer_tokens: int
    strata: tuple[str, ...]  # in the order of the batch's columns
    states: TokenTable[tuple[int, ...]] | None = None  # of the questions, by their token ids

    def __call__(self, samples: Sequence[QuestionSample]) -> VQABatch:
        """Tokenise and pad the questions of the samples."""
        rows = [row for sample in samples for row in sample.rows]
        encode, pad_id = self.tokenizer.encode, self.tokenizer.pad_id
        questions = [encode(row.question, self.max_question_tokens) for row in rows]
        answers = [encode(row.references[0], self.max_answer_tokens) for row in rows]
        member = [[name in subsets for name in self.strata] for subsets in map(subsets_of, rows)]
        return VQABatch(
            images=torch.stack([sample.image for sample in samples]),
            image_index=torch.repeat_interleave(
                torch.arange(len(samples)), torch.tensor([len(sample.rows) for sample in samples])
            ),
            question=pad_tokens(questions, pad_id),
            answer=pad_tokens(answers, pad_id),
            strata=torch.tensor(member),
            question_states=None if self.states is None else padded_states(self.states, questions),
            question_ids=[row.question_id for row in rows],
            references=[row.references for row in rows],
            image_keys=[sample.image_key for sample in samples for _ in sample.rows],
            questions=[row.question for row in rows],
        )
