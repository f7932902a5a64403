"""Typed batches, the only interface between data modules and tasks.

Letters used in shapes: B questions or studies, I <= B images, L question or report tokens, T answer
tokens or the width of teacher features, S strata.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

#: Mean and standard deviation of red, green and blue by which the images of every batch are
#: normalised: those of CLIP's training images. A tower whose weights expect others converts them
#: (models/pixels.py).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass
class _Tensors:
    """A dataclass that moves all its tensors together."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Copy to another device."""
        return self._each(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Copy to page-locked memory, for faster copies to a GPU."""
        return self._each(lambda value: value.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> Self:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        moved = {n: change(v) for n, v in values if isinstance(v, Tensor | _Tensors)}
        return replace(self, **moved)


@dataclass
class Tokens(_Tensors):
    """Token ids padded to a common length.

    Attributes:
        ids: (B, L) long.
        mask: (B, L) bool, true on tokens, false on padding; column 0 is always true.
    """

    ids: Tensor
    mask: Tensor


@dataclass
class VQABatch(_Tensors):
    """Questions about images.

    Attributes:
        images: (I, 3, H, W) float, normalised; each image once. With a token cache (I, P, D), the
            tokens of the frozen image encoder.
        image_index: (B,) long, row of ``images`` of each question.
        question: (B, L) tokens ``[CLS] words [SEP]``.
        answer: (B, T) tokens ``[CLS] words [SEP]``, the decoder's target.
        strata: (B, S) bool, membership in the data module's strata.
        question_states: (B, L, D) states of the frozen text encoder from a token cache, zero on
            padding; None if the task encodes the questions.
        question_ids: B ids, unique within the data set.
        references: Normalised answers that count as correct, for each question.
        image_keys: Identity of the image, for each question.
        questions: The questions as text.
    """

    images: Tensor
    image_index: Tensor
    question: Tokens
    answer: Tokens
    strata: Tensor
    question_states: Tensor | None = None
    question_ids: list[str] = field(default_factory=list)
    references: list[tuple[str, ...]] = field(default_factory=list)
    image_keys: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image_index)


@dataclass
class TeacherFeatures(_Tensors):
    """Embeddings of the studies by a frozen teacher, (B, T) float32 of unit norm.

    Attributes:
        first: View 1, not augmented.
        second: View 2, not augmented; equals ``first`` if the study has one image.
        text: The report.
        scale: The teacher's logit scale, as a natural logarithm.
    """

    first: Tensor
    second: Tensor
    text: Tensor
    scale: float


@dataclass
class StudyBatch(_Tensors):
    """Studies: two views and a report each.

    Attributes:
        first: (B, 3, H, W) float, view 1, normalised.
        second: The same for view 2; another augmentation of view 1 if the study has one image.
        text: (B, L) report tokens ``[CLS] words [SEP]``.
        study: (B,) long, 63-bit identity of the study.
        text_id: (B,) long, 63-bit identity of the normalised text.
        relevance: (B,) long, equal for studies with equal findings; the study's own identity if
            its findings are unknown.
        position: (B,) long, position of the study in its split.
        teacher: None with hard labels.
        second_frontal: (B,) bool, whether view 2 is frontal and view 1 is not; None if the
            projections are unknown.
        study_ids: B ids, unique within the data set.
        first_ids: Identity of the image in view 1, for each study.
        second_ids: The same for view 2.
        texts: The reports as text.
    """

    first: Tensor
    second: Tensor
    text: Tokens
    study: Tensor
    text_id: Tensor
    relevance: Tensor
    position: Tensor
    teacher: TeacherFeatures | None = None
    second_frontal: Tensor | None = None
    study_ids: list[str] = field(default_factory=list)
    first_ids: list[str] = field(default_factory=list)
    second_ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.study)


def pad_tokens(sequences: Sequence[Sequence[int]], pad_id: int) -> Tokens:
    """Pad B non-empty lists of token ids to the longest with ``pad_id``.

    Raises:
        ValueError: If there is no list, or an empty one: attention over a fully masked row is
            undefined.
    """
    if not sequences or not all(sequences):
        raise ValueError("expected at least one list of token ids, and none of them empty")
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(sequences), longest), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        mask[row, : len(sequence)] = True
    return Tokens(ids, mask)
