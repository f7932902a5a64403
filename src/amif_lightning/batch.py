"""The one contract between data modules and tasks: typed batches with their shapes.

Letters used in shapes: B questions or studies, I images, L question or report tokens, T answer
tokens (of a teacher's features: their width), S strata. Several questions may share one image, so
I <= B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass
class _Tensors:
    """Fields of which some are tensors, or hold tensors in turn; they move together."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same on another device."""
        return self._each(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same in page-locked memory, for faster copies to a GPU."""
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
        images: (I, 3, H, W) float, normalised; every image of the batch once.
        image_index: (B,) long, the row of ``images`` that each question is about.
        question: Question tokens ``[CLS] words [SEP]``, (B, L).
        answer: Answer tokens ``[CLS] words [SEP]``, (B, T); what the decoder learns to write.
        strata: (B, S) bool, membership in the data module's strata, in the order of their names.
        question_ids: B ids, unique within the data set.
        references: For each question the normalised answers that count as right.
        image_keys: For each question the identity of the image that was shown.
        questions: The questions as text.
    """

    images: Tensor
    image_index: Tensor
    question: Tokens
    answer: Tokens
    strata: Tensor
    question_ids: list[str] = field(default_factory=list)
    references: list[tuple[str, ...]] = field(default_factory=list)
    image_keys: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image_index)


@dataclass
class TeacherFeatures(_Tensors):
    """What a frozen teacher says of the studies of a batch; rows of unit norm, float32.

    T is the teacher's width.

    Attributes:
        first: (B, T), the image of view 1, not augmented.
        second: (B, T), the image of view 2, not augmented; equals ``first`` where a study has one
            image.
        text: (B, T), the text.
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
        second: (B, 3, H, W) float, view 2, normalised; another augmentation of view 1 where the
            study has one image.
        text: Report tokens ``[CLS] words [SEP]``, (B, L).
        study: (B,) long, a 63-bit identity of the study.
        text_id: (B,) long, a 63-bit identity of the normalised text.
        relevance: (B,) long, equal where two studies are relevant to each other (equal findings);
            the study's own identity where the data says nothing of findings.
        position: (B,) long, the study's place in its split.
        teacher: The teacher's features of the same studies; none where labels are hard.
        second_frontal: (B,) bool, whether view 2 is a frontal image and view 1 is not; None where
            the projections are not known.
        study_ids: B ids, unique within the data set.
        first_ids: For each study the identity of the image shown as view 1.
        second_ids: The same of view 2.
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
    """Pad id lists to the longest of them.

    Args:
        sequences: B non-empty lists of token ids.
        pad_id: Id written on padding.

    Returns:
        Tokens of shape (B, longest).

    Raises:
        ValueError: If there is no list, or an empty one: a fully masked row has no attention.
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
