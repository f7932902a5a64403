"""The one contract between data modules and tasks: typed batches and what an answer may be.

Letters used in shapes: B questions or studies, I images, L question or report tokens, T answer
tokens (of a teacher's features: their width), S strata. Several questions may share one image, so
I <= B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Tokens:
    """Token ids padded to a common length.

    Attributes:
        ids: (B, L) long.
        mask: (B, L) bool, true on tokens, false on padding; column 0 is always true.
    """

    ids: Tensor
    mask: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Tokens:
        """The same tokens on another device."""
        return Tokens(
            self.ids.to(device, non_blocking=non_blocking),
            self.mask.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Tokens:
        """The same tokens in page-locked memory."""
        return Tokens(self.ids.pin_memory(), self.mask.pin_memory())


@dataclass
class VQABatch:
    """Questions about images.

    Attributes:
        images: (I, 3, H, W) float, normalised; every picture of the batch once.
        image_index: (B,) long, the row of ``images`` that each question is about.
        question: Question tokens ``[CLS] words [SEP]``, (B, L).
        answer: Answer tokens ``[CLS] words [SEP]``, (B, T); what the decoder learns to write.
        strata: (B, S) bool, membership in the data module's strata, in the order of their names.
        question_ids: B ids, unique within the data set.
        references: For each question the normalised answers that count as right.
        image_ids: For each question the identity of the image that was shown.
        questions: The questions as text.
    """

    images: Tensor
    image_index: Tensor
    question: Tokens
    answer: Tokens
    strata: Tensor
    question_ids: list[str] = field(default_factory=list)
    references: list[tuple[str, ...]] = field(default_factory=list)
    image_ids: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image_index)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VQABatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor | Tokens)
        }
        return replace(self, **moved)

    def pin_memory(self) -> VQABatch:
        """The same batch in page-locked memory, for faster copies to a GPU."""
        pinned: dict[str, Any] = {
            f.name: value.pin_memory()
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor | Tokens)
        }
        return replace(self, **pinned)


@dataclass
class TeacherFeatures:
    """What a frozen teacher says of the studies of a batch; rows of unit norm, float32.

    T is the teacher's width.

    Attributes:
        first: (B, T), the picture of view 1, not augmented.
        second: (B, T), the picture of view 2, not augmented; equals ``first`` where a study has one
            picture.
        text: (B, T), the text.
        scale: The teacher's logit scale, as a natural logarithm.
    """

    first: Tensor
    second: Tensor
    text: Tensor
    scale: float

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TeacherFeatures:
        """The same features on another device."""
        return TeacherFeatures(
            self.first.to(device, non_blocking=non_blocking),
            self.second.to(device, non_blocking=non_blocking),
            self.text.to(device, non_blocking=non_blocking),
            self.scale,
        )

    def pin_memory(self) -> TeacherFeatures:
        """The same features in page-locked memory."""
        return TeacherFeatures(
            self.first.pin_memory(), self.second.pin_memory(), self.text.pin_memory(), self.scale
        )


@dataclass
class StudyBatch:
    """Studies: two views and a report each.

    Attributes:
        first: (B, 3, H, W) float, view 1, normalised.
        second: (B, 3, H, W) float, view 2, normalised; another augmentation of view 1 where the
            study has one picture.
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
        first_ids: For each study the identity of the picture shown as view 1.
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

    def to(self, device: torch.device | str, non_blocking: bool = False) -> StudyBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor | Tokens | TeacherFeatures)
        }
        return replace(self, **moved)

    def pin_memory(self) -> StudyBatch:
        """The same batch in page-locked memory, for faster copies to a GPU."""
        pinned: dict[str, Any] = {
            f.name: value.pin_memory()
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor | Tokens | TeacherFeatures)
        }
        return replace(self, **pinned)


@dataclass(frozen=True)
class AnswerSpace:
    """What may be answered and what the knowledge attention may read, as plain types.

    It is stored in every checkpoint, so that answering needs no data set.

    Attributes:
        protocol: ``clean`` or ``literature``: where the candidates come from.
        candidates: Normalised answers that ranking chooses from; order breaks ties.
        candidate_ids: Token ids of each candidate, without [CLS] and [SEP].
        vocabulary: Entries of the answer vocabulary (words or whole answers).
        vocabulary_ids: Token ids of each entry, at least one each.
        tokenizer: The tokenizer as the JSON text of the ``tokenizers`` library.
        cls_id: Id of [CLS], the first token of every text and of every answer.
        sep_id: Id of [SEP], the last token of every text and the end of every answer.
        pad_id: Id of the padding token.
        table_size: Number of slots of the tokenizer's table.
        selection: Plain values that say which rows trained and chose the weights (data set, layout,
            split options); empty where nothing is known, as in files from before it was stored.
        question_tokens: Most tokens of a question that the weights were trained with, [CLS] and
            [SEP] included; 0 where nothing is known.
        answers_from: The splits whose answers are candidates, such as ``train + validation``;
            empty where nothing is known.
    """

    protocol: str
    candidates: tuple[str, ...]
    candidate_ids: tuple[tuple[int, ...], ...]
    vocabulary: tuple[str, ...]
    vocabulary_ids: tuple[tuple[int, ...], ...]
    tokenizer: str
    cls_id: int
    sep_id: int
    pad_id: int
    table_size: int
    # A dict has no hash; equality compares it all the same.
    selection: dict[str, str | int | float | bool] = field(default_factory=dict, hash=False)
    question_tokens: int = 0
    answers_from: str = ""

    def state(self) -> dict[str, Any]:
        """Plain types only: a checkpoint holding it loads with ``weights_only=True``."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> AnswerSpace:
        """Inverse of :meth:`state`."""
        values = dict(state)
        for key in ("candidate_ids", "vocabulary_ids"):
            values[key] = tuple(tuple(ids) for ids in values[key])
        for key in ("candidates", "vocabulary"):
            values[key] = tuple(values[key])
        values["selection"] = dict(values.get("selection", {}))
        return cls(**values)


@dataclass  # not frozen, as Prediction, which holds it
class VocabularyReading:
    """What one question read of the answer vocabulary.

    Attributes:
        mass: Attention of the question on the entries that are in its answer, in [0, 1]; None where
            the answer has no entry, as for the next two.
        even: What even attention would put there: their share of the vocabulary.
        top: Whether the most attended entry is one of them.
        effective: exp of the entropy of the attention: how many entries share it.
        gate: Openness of the gate in [0, 1], mean over the question's tokens and channels.
        read: The most attended entries, each with its attention.
    """

    mass: float | None
    even: float | None
    top: bool | None
    effective: float
    gate: float
    read: tuple[tuple[str, float], ...]


@dataclass  # not frozen: Lightning copies what a predict step returns field by field
class Prediction:
    """One answered question.

    Attributes:
        question_id: As in :class:`VQABatch`.
        image_id: Identity of the image that was shown.
        answer: The model's answer, normalised.
        log_likelihood: Its log-likelihood under the decoder (natural logarithm, <= 0).
        correct: Whether it is among the references.
        knowledge: What the question read of the answer vocabulary; None where nothing is read.
    """

    question_id: str
    image_id: str
    answer: str
    log_likelihood: float
    correct: bool
    knowledge: VocabularyReading | None = None


@dataclass(frozen=True)
class SplitFacts:
    """What a record must say about the questions that were scored, apart from the model.

    Attributes:
        dataset: Name of the data class.
        layout: Which published layout was read.
        protocol: ``clean`` or ``literature``.
        split: The released split that was scored.
        candidates: Number of candidate answers.
        ceiling: Per stratum, questions whose answer is among the candidates: (correct, count).
        floors: Per floor (``question_only``, ``same_image_copy``, ``majority``) and stratum, what
            is right without looking at a picture.
        majority: The most frequent training answer.
        answers_from: The splits whose answers are candidates.
        floor_correct: Per question id, whether the question-only lookup is right.
        rows: Per question id, what the predictions file repeats of the release's row.
        warnings: Sentences that every record of this set-up carries.
    """

    dataset: str
    layout: str
    protocol: str
    split: str
    candidates: int
    ceiling: Mapping[str, tuple[int, int]]
    floors: Mapping[str, Mapping[str, tuple[int, int]]]
    majority: str
    answers_from: str
    floor_correct: Mapping[str, bool]
    rows: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class StudyFacts:
    """What a record must say about the studies that were searched, apart from the model.

    Attributes:
        dataset: Name of the data set.
        layout: Which published layout was read.
        split: The split that was scored.
        study_ids: The id of each study, by its place in the split.
        groups: For each study what it stays together with (its patient), or its own id; intervals
            draw groups, since studies of one patient are not independent.
        warnings: Sentences that every record of this set-up carries.
    """

    dataset: str
    layout: str
    split: str
    study_ids: tuple[str, ...]
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixedNegatives:
    """The pairs that matching is judged by: drawn once from data and teacher, whatever the model.

    Attributes:
        random: For each study of a split the place of another one, whose text is a random
            negative; -1 where there is none.
        hard: The place of the study whose findings are nearest without being equal; None where
            nothing says which findings are near.
    """

    random: tuple[int, ...]
    hard: tuple[int, ...] | None


@dataclass(frozen=True)
class Region:
    """Where a finding lies on an image.

    Attributes:
        kind: What it is.
        mask: (H, W) bool, any size; covers the whole image.
    """

    kind: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Localised:
    """Mass of a transport plan inside the region of one finding, as shares of the words' mass.

    Attributes:
        position: The study's place in its split.
        kind: The finding's kind.
        area: The region's share of the image's area: what an even plan puts inside.
        inside: Of the words that name the finding.
        other_word: Of one other word of the report that names no finding; None without one.
        elsewhere: Of the naming words inside the region of another study's finding of the same
            kind; None without one.
    """

    position: int
    kind: str
    area: float
    inside: float
    other_word: float | None
    elsewhere: float | None


@dataclass(frozen=True)
class PairScores:
    """What single pairs of a split scored; N studies in the order of their places in the split.

    Attributes:
        negatives: The fixed pairs.
        matching: By ``own``, ``random`` and ``hard`` the log-odds (N,) float64 that the image
            belongs to its own text and to the negatives'; NaN without a negative. None where the
            run trains no matching.
        reranked: (N,) float64, share of relevant texts among the first 5 of the 20 nearest ones,
            put in the order of matching; NaN for studies that were not re-ranked. None where the
            run trains no matching.
        transport: By ``own`` and ``random`` the transport (N,) float64 of the image and the text;
            NaN where either has no tokens.
        cosine: (N,) float64, mean cosine of the image's patches and the random negative's words;
            near 1 all tokens have collapsed.
        localised: The findings whose region is known.
    """

    negatives: FixedNegatives
    matching: dict[str, Tensor] | None
    reranked: Tensor | None
    transport: dict[str, Tensor]
    cosine: Tensor
    localised: tuple[Localised, ...]


@dataclass(frozen=True)
class StudyScores:
    """What the search in a whole split gave, study by study; the same in all processes.

    N studies in the order of their places in the split, K numbers of nearest neighbours.

    Attributes:
        ks: The K numbers k.
        precision: By direction (``image_to_text``, ``text_to_image``) the share of relevant
            studies among the k nearest, (K, N) float64.
        recall: By direction whether the own study is among the k nearest, (K, N) float64, 0 or 1.
        relevant: (N,) long, how many studies of the split are relevant to each, itself included.
        zero_shot: (N,) bool, whether the class that its image is nearest to is one of its classes;
            None where the data has no classes.
        teacher_kl: Mean over studies and both directions of the divergence of the model's
            image-text distribution over the split from the teacher's, in nats; None without a
            teacher.
        pairs: What single pairs scored; None where the task scores none.
    """

    ks: tuple[int, ...]
    precision: Mapping[str, Tensor]
    recall: Mapping[str, Tensor]
    relevant: Tensor
    zero_shot: Tensor | None = None
    teacher_kl: float | None = None
    pairs: PairScores | None = None


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
