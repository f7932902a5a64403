"""Inputs and results of an evaluation: contexts of a split, predictions and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # reports must not import torch
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Protocol = Literal["clean", "disjoint", "literature"]

#: With fewer questions, a share is printed as counts only.
SMALLEST_PRINTED_PERCENTAGE = 30
#: Bins of equal width between probability 0 and 1, for the calibration of answers.
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class Count:
    """``correct`` out of ``count`` questions or studies."""

    correct: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.count < 1e15:
            raise ValueError("must have 0 <= correct <= count < 1e15")

    @property
    def share(self) -> float:
        """Share of correct answers, 0 to 1."""
        return self.correct / self.count

    @property
    def percent(self) -> float | None:
        """Share in percent with one decimal, halves rounded up; None without questions."""
        # Integer arithmetic: 691 of 2000 is 34.6, where floats give 34.5.
        return (2000 * self.correct + self.count) // (2 * self.count) / 10 if self.count else None

    def __str__(self) -> str:
        """Format as ``37.0 (167/451)``, or ``3/7`` for fewer than 30 questions."""
        if self.count < SMALLEST_PRINTED_PERCENTAGE:
            return f"{self.correct}/{self.count}"
        return f"{self.percent} ({self.correct}/{self.count})"


def tally(subsets: Iterable[Iterable[str]], correct: Iterable[bool]) -> dict[str, Count]:
    """Count correct answers per subset, given the subsets and the correctness of each question."""
    right: dict[str, int] = {}
    total: dict[str, int] = {}
    for names, flag in zip(subsets, correct, strict=True):
        for name in names:
            right[name] = right.get(name, 0) + int(flag)
            total[name] = total.get(name, 0) + 1
    return {name: Count(right[name], total[name]) for name in total}


@dataclass  # not frozen, as Prediction, which contains it
class VocabularyReading:
    """Attention of one question on the answer vocabulary.

    ``mass``, ``even`` and ``top`` are None if the answer has no entry.
    """

    mass: float | None  # attention on the entries of the answer, 0 to 1
    even: float | None  # the same under uniform attention: their share of the vocabulary
    top: bool | None  # whether the most attended entry is one of them
    effective: float  # exp of the attention's entropy: the effective number of entries
    gate: float  # mean openness over the question's tokens and channels, 0 to 1
    read: tuple[tuple[str, float], ...]  # the most attended entries with their attention


@dataclass  # not frozen: Lightning copies what a predict step returns field by field
class Prediction:
    """One answered question; the answer is normalised."""

    question_id: str
    image_key: str  # identity of the image shown
    answer: str
    log_likelihood: float | None  # natural logarithm of its probability, <= 0; None if unknown
    correct: bool  # whether the answer is among the references
    knowledge: VocabularyReading | None = None  # None without knowledge attention


@dataclass(frozen=True)
class EvaluationContext:
    """Facts about the scored questions for the record, independent of the model."""

    dataset: str  # name of the data class
    layout: str  # published layout of the release
    protocol: Protocol
    split: str  # the released split that is scored
    candidates: int  # their number
    ceiling: Mapping[str, Count]  # by stratum, questions whose answer is a candidate
    # Correct answers by stratum and baseline without images: `question_only`, `same_image_copy` and
    # `majority`.
    baselines: Mapping[str, Mapping[str, Count]]
    majority: str  # the most frequent training answer
    answers_from: str  # splits of the candidates
    baseline_correct: Mapping[str, bool]  # whether question_only is correct, by question id
    # Fields of the released row for the predictions file, by question id.
    rows: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...]  # sentences for every record of this set-up
    # Why rows of the scored split are not asked, by question id.
    unasked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrievalContext:
    """Facts about the scored studies for the record; shared fields as in `EvaluationContext`."""

    dataset: str
    layout: str
    split: str
    study_ids: tuple[str, ...]  # in the order of the split
    # The patient of each study, or the study's own id. Intervals resample groups, because studies
    # of one patient are not independent.
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixedNegatives:
    """Negative pairs that evaluate matching, drawn once from the data, independent of the model.

    Each field has, for every study of a split, the position of the study with the negative's text;
    -1 without one.
    """

    random: tuple[int, ...]
    hard: tuple[int, ...] | None  # nearest unequal findings; None if the similarity is unknown


@dataclass(frozen=True)
class Region:
    """Region of a finding: ``mask`` is (H, W) bool over the whole image, in any resolution."""

    kind: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Localised:
    """Mass of a transport plan inside the region of one finding, as shares of the words' mass."""

    position: int  # of the study in its split
    kind: str
    area: float  # the region's share of the image, equal to the mass inside under a uniform plan
    inside: float  # mass inside of the words that name the finding
    other_word: float | None  # mass of one other word that names no finding; None without one
    # Mass of the naming words in another study's region of the same kind; None without one.
    elsewhere: float | None


@dataclass(frozen=True)
class PairScores:
    """Scores of single pairs; N studies in the order of the split.

    Attributes:
        negatives: The fixed negative pairs.
        matching: Log-odds (N,) float64 that image and text match, by text: ``own``, ``random`` and
            ``hard``; NaN without a negative. None, as ``reranked``, if the run trains no matching.
        reranked: (N,) float64, share of relevant texts among the first 5 after re-ranking the 20
            nearest by matching; NaN for studies without re-ranking.
        transport: Transport cost (N,) float64 of image and text, by text: ``own`` and ``random``;
            NaN without tokens.
        cosine: (N,) float64, mean cosine of the image's patches and the random negative's words;
            near 1 all tokens have collapsed.
        localised: Findings with a known region.
    """

    negatives: FixedNegatives
    matching: dict[str, Tensor] | None
    reranked: Tensor | None
    transport: dict[str, Tensor]
    cosine: Tensor
    localised: tuple[Localised, ...]


@dataclass(frozen=True)
class StudyScores:
    """Retrieval scores of a split, equal in all processes; N studies in split order, K values of k.

    Attributes:
        ks: The values of k.
        precision: Share of relevant studies among the k nearest, (K, N) float64, by direction
            (``image_to_text``, ``text_to_image``).
        recall: Whether the own study is among the k nearest, (K, N) float64 0 or 1, by direction.
        relevant: (N,) long, number of relevant studies of the split, the study itself included.
        zero_shot: (N,) bool, whether the nearest class of the image is one of its classes; None if
            the data has no classes.
        teacher_kl: Divergence of the model's image-text distribution over the split from the
            teacher's, in nats, mean over studies and directions; None without a teacher.
        pairs: Scores of single pairs; None if the task computes none.
    """

    ks: tuple[int, ...]
    precision: Mapping[str, Tensor]
    recall: Mapping[str, Tensor]
    relevant: Tensor
    zero_shot: Tensor | None = None
    teacher_kl: float | None = None
    pairs: PairScores | None = None
