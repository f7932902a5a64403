"""What an evaluation is told about a split, and what it returns: predictions and scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reports count answers and import neither
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

#: Below this many questions a share is printed as counts only.
SMALLEST_PRINTED_PERCENTAGE = 30


@dataclass(frozen=True, slots=True)
class Count:
    """``correct`` right answers out of ``count`` questions or studies."""

    correct: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.count:
            raise ValueError(f"must have 0 <= correct <= count, found {self}")

    @property
    def share(self) -> float:
        """The share of right answers (0 to 1)."""
        return self.correct / self.count

    @property
    def percent(self) -> float | None:
        """Share in percent (0 to 100), rounded once, halves up; None without questions.

        In whole numbers: 691 of 2000 is 34.6, where floats would say 34.5.
        """
        return (2000 * self.correct + self.count) // (2 * self.count) / 10 if self.count else None

    def __str__(self) -> str:
        """Gives ``37.0 (167/451)``, or ``3/7`` alone for fewer than 30 questions."""
        if self.count < SMALLEST_PRINTED_PERCENTAGE:
            return f"{self.correct}/{self.count}"
        return f"{self.percent} ({self.correct}/{self.count})"


def tally(subsets: Iterable[Iterable[str]], correct: Iterable[bool]) -> dict[str, Count]:
    """Count right answers per subset; every count of the suite is made here.

    Args:
        subsets: The subsets of each question.
        correct: One flag per question, in the same order.

    Raises:
        ValueError: The numbers of questions and flags differ.
    """
    right: dict[str, int] = {}
    total: dict[str, int] = {}
    for names, flag in zip(subsets, correct, strict=True):
        for name in names:
            right[name] = right.get(name, 0) + int(flag)
            total[name] = total.get(name, 0) + 1
    return {name: Count(right[name], total[name]) for name in total}


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
        image_key: Identity of the image that was shown.
        answer: The model's answer, normalised.
        log_likelihood: Its log-likelihood under the decoder (natural logarithm, <= 0).
        correct: Whether it is among the references.
        knowledge: What the question read of the answer vocabulary; None where nothing is read.
    """

    question_id: str
    image_key: str
    answer: str
    log_likelihood: float
    correct: bool
    knowledge: VocabularyReading | None = None


@dataclass(frozen=True)
class EvaluationContext:
    """What a record must say about the questions that were scored, apart from the model.

    Attributes:
        dataset: Name of the data class.
        layout: Which published layout was read.
        protocol: ``clean`` or ``literature``.
        split: The released split that was scored.
        candidates: Number of candidate answers.
        ceiling: Per stratum, questions whose answer is among the candidates.
        baselines: Per baseline (``question_only``, ``same_image_copy``, ``majority``) and stratum,
            what is right without looking at an image.
        majority: The most frequent training answer.
        answers_from: The splits whose answers are candidates.
        baseline_correct: Per question id, whether the question-only lookup is right.
        rows: Per question id, what the predictions file repeats of the release's row.
        warnings: Sentences that every record of this set-up carries.
    """

    dataset: str
    layout: str
    protocol: str
    split: str
    candidates: int
    ceiling: Mapping[str, Count]
    baselines: Mapping[str, Mapping[str, Count]]
    majority: str
    answers_from: str
    baseline_correct: Mapping[str, bool]
    rows: Mapping[str, Mapping[str, Any]]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class RetrievalContext:
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
