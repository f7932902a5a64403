"""Records of answered questions: ``predictions-<split>.jsonl`` and ``result-<split>.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from amif_lightning.data.schema.question_splits import protocol_label
from amif_lightning.evaluation import Count, Protocol, tally
from amif_lightning.reports.records.run import OVERALL, RunRecord, Scores
from amif_lightning.reports.records.schema import (
    FieldError,
    Line,
    Model,
    Name,
    Number,
    Positive,
    Real,
    Share,
    first_difference,
)

Effective = Annotated[float, Field(ge=1 - 1e-9, lt=1e15)]


class KnowledgeLine(Model):
    """Attention of one question on the answer vocabulary; see `evaluation.VocabularyReading`."""

    mass: Share | None
    even: Share | None
    top: bool | None
    effective: Effective
    gate: Share
    read: tuple[tuple[str, Share], ...]


class KnowledgeAverages(Model):
    """Means over the questions of a subset."""

    questions: Positive
    # Questions whose answer has an entry in the vocabulary. The next three fields are means over
    # these; None without such a question.
    known: Number
    mass: Share | None  # attention on the entries of the answer
    even: Share | None  # the same under uniform attention
    top: Share | None  # share of questions whose most attended entry is one of the answer's
    effective: Effective  # number of attended entries
    gate: Share


class Overlap(Model):
    """Words that an answer, or on average those of a subset, shares with its references.

    `metrics.answer_scores.word_overlap` computes and defines the scores.
    """

    token_f1: Share
    token_recall: Share
    bleu_1: Share
    rouge_l: Share


class PredictionLine(Line):
    """One question and its answer; fields that end in ``= None`` are missing in older files."""

    ID: ClassVar[str] = "question_id"
    CLUSTER: ClassVar[str] = "image"
    TOGETHER: ClassVar[tuple[str, ...]] = (
        "control_correct",
        "blank_correct",
        "baseline_correct",
        "knowledge",
        "overlap",
    )

    question_id: str  # ``<dataset>/<split>/<row in the released file>``
    qid: str  # the release's own id; may be empty, as ``answer_type`` and ``question_type``
    image: str  # equal for two questions exactly if they show the same image
    question: str
    answer: str  # as released
    references: tuple[str, ...]  # normalised answers that count as correct
    prediction: str
    log_likelihood: Real | None  # natural logarithm; None if the method gives none
    correct: bool
    answer_type: str
    question_type: str
    strata: tuple[str, ...]  # names of the subsets that count the question
    control_prediction: str | None = None  # with another question's image; None without the control
    control_correct: bool | None = None
    blank_prediction: str | None = None  # with a blank image; None without the control
    blank_correct: bool | None = None
    # Of the question-only baseline; None if not computed; `floor_correct` in older files.
    baseline_correct: bool | None = Field(
        default=None, validation_alias=AliasChoices("baseline_correct", "floor_correct")
    )
    image_file: str | None = None  # relative to the data set's root, with forward slashes
    knowledge: KnowledgeLine | None = None  # None without a vocabulary
    overlap: Overlap | None = None

    @property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets that count the question."""
        return self.strata

    def value(self, measure: str, count: int) -> float | None:
        """Return 0 or 1 for measures of correct answers, and the attention mass or an overlap."""
        values: dict[str, float | None] = {
            "accuracy": self.correct,
            "control": self.control_correct,
            "blank": self.blank_correct,
            "baseline": self.baseline_correct,
            "mass": self.knowledge.mass if self.knowledge else None,
            **dict(self.overlap or dict.fromkeys(Overlap.model_fields)),
        }
        value = values[measure]
        return None if value is None else float(value)


class Baselines(Model):
    """Scores of the no-vision baselines per subset."""

    question_only: Scores  # most frequent training answer of the question (or its first words)
    same_image_copy: Scores  # answer of the most similar training question on the same image
    majority: Scores  # the most frequent training answer


class ResultRecord(RunRecord):
    """Everything that a reported score of answers needs; correct answers are counted per subset."""

    MAIN: ClassVar[str] = "accuracy"  # the measure that configurations are judged and compared by
    CASES: ClassVar[str] = "questions"
    LINE: ClassVar[type[Line]] = PredictionLine  # the model of the lines next to the record
    FILE: ClassVar[str] = "predictions-{}.jsonl"

    # Not in the file: files of answers are older than the field.
    kind: Literal["answering"] = Field(default="answering", exclude=True)
    protocol: Protocol
    scores: Scores  # ``overall`` is always present
    control: Scores | None  # with images permuted among the questions; None if it was not run
    blank: Scores | None = None  # with a blank image; None if it was not run and in older files
    # Questions whose answer is a candidate; None if answers are generated. It does not bound the
    # answers of a file.
    ceiling: Scores | None
    baselines: Baselines = Field(validation_alias=AliasChoices("baselines", "floors"))
    majority_answer: str
    candidates: Positive | None  # None as `ceiling`
    answers_from: Name  # splits whose answers are candidates, such as ``train``
    method: Literal["rank", "generate", "file"]  # ``file``: of another program
    # Attention on the answer vocabulary; None without a vocabulary and in older files.
    knowledge: dict[str, KnowledgeAverages] | None = None
    overlap: dict[str, Overlap] | None = None  # means per subset; None in older files
    # Per subset, `metrics.answer_scores.calibration_error`; None without probabilities and in older
    # files.
    calibration_error: dict[str, Share] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if OVERALL not in self.scores:
            raise FieldError("scores", "must hold the subset 'overall'")
        sizes = {name: score.count for name, score in self.scores.items()}
        counts = {"control": self.control, "blank": self.blank, "ceiling": self.ceiling} | {
            f"baselines.{name}": scores for name, scores in self.baselines
        }
        tables = {
            name: {subset: score.count for subset, score in scores.items()}
            for name, scores in counts.items()
            if scores is not None
        }
        if self.knowledge is not None:
            tables["knowledge"] = {name: read.questions for name, read in self.knowledge.items()}
        for name in ("overlap", "calibration_error"):
            if (means := getattr(self, name)) is not None:
                tables[name] = {subset: sizes.get(subset, 0) for subset in means}
        for name, found in tables.items():
            odd = first_difference(sizes, found)
            if odd:
                raise FieldError(name, f"must have the questions of 'scores'; '{odd}' differs")
        if self.method == "rank" and self.ceiling is not None:
            for subset, score in self.scores.items():
                # A ranked answer is a candidate, so the ceiling bounds the score.
                if score.correct > self.ceiling[subset].correct:
                    reason = f"is {score.correct}, above the ceiling {self.ceiling[subset].correct}"
                    raise FieldError(f"scores.{subset}.correct", f"{reason} of the candidates")
        return self

    @property
    def protocol_label(self) -> str:
        """``clean``, or ``literature`` with the splits that it made visible."""
        return protocol_label(self.protocol, self.split, self.answers_from)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of questions per subset, without empty subsets."""
        return {name: score.count for name, score in self.scores.items() if score.count}

    @property
    def shared(self) -> dict[str, object]:
        """Values that are equal in all seeds of one configuration."""
        names = ("baselines", "ceiling", "candidates", "answers_from", "method", "untrained")
        return {"questions": self.sizes} | {name: getattr(self, name) for name in names}

    def right(self, measure: str, subset: str) -> Count | None:
        """Count correct answers of the model, the control, a baseline or the ceiling."""
        tables = {
            "accuracy": self.scores,
            "control": self.control,
            "blank": self.blank,
            "baseline": self.baselines.question_only,
            "same_image_copy": self.baselines.same_image_copy,
            "majority": self.baselines.majority,
            "ceiling": self.ceiling,
        }
        scores = tables.get(measure)
        return None if scores is None else scores[subset]

    def score(self, measure: str, subset: str, lines: Sequence[Any] | None) -> float | None:
        """Return the share of correct answers or a mean; None if it was not computed."""
        count = self.right(measure, subset)
        if count is not None:
            return count.share
        if measure == "calibration_error" and self.calibration_error is not None:
            return self.calibration_error[subset]
        # None for a measure that is no overlap.
        return None if self.overlap is None else getattr(self.overlap[subset], measure, None)

    def numbers(self, lines: Sequence[Any]) -> tuple[dict[str, object], dict[str, object]]:
        """Return the numbers of the record, and the same numbers computed from its lines."""
        found = counted(lines)
        baseline = "baselines.question_only"
        own = {name: getattr(self, name) for name in found if name != baseline}
        # Not every run stores per line whether the baseline is correct.
        own[baseline] = found[baseline] and self.baselines.question_only
        return own, found


def reading_text(read: Sequence[tuple[str, float]], gate: float) -> str:
    """Format attention on the vocabulary for people: ``left 61%, small 20%; gate 0.49``."""
    entries = ", ".join(f"{entry} {share:.0%}" for entry, share in read)
    return f"{entries}; gate {gate:.2f}"


def counted(lines: Sequence[PredictionLine]) -> dict[str, Any]:
    """Compute the fields of a record that its lines determine."""
    subsets = [line.strata for line in lines]

    def scores(right: Iterable[bool | None]) -> Scores | None:
        flags = list(right)
        return None if None in flags else tally(subsets, map(bool, flags))

    return {
        "scores": scores(line.correct for line in lines),
        "control": scores(line.control_correct for line in lines),
        "blank": scores(line.blank_correct for line in lines),
        "baselines.question_only": scores(line.baseline_correct for line in lines),
        "knowledge": knowledge_averages(lines),
        "overlap": overlap_averages(lines),
    }


def overlap_averages(lines: Iterable[PredictionLine]) -> dict[str, Overlap] | None:
    """Average the overlaps per subset; None if no line has one."""
    subsets: dict[str, list[Overlap]] = {}
    for line in lines:
        if line.overlap is not None:
            for name in line.strata:
                subsets.setdefault(name, []).append(line.overlap)
    return {
        subset: Overlap(
            **{
                name: statistics.fmean(getattr(o, name) for o in found)
                for name in Overlap.model_fields
            }
        )
        for subset, found in sorted(subsets.items())
    } or None


def knowledge_averages(lines: Iterable[PredictionLine]) -> dict[str, KnowledgeAverages] | None:
    """Average the attention on the vocabulary per subset; None if no line has it."""
    subsets: dict[str, list[KnowledgeLine]] = {}
    for line in lines:
        if line.knowledge is not None:
            for name in line.strata:
                subsets.setdefault(name, []).append(line.knowledge)
    return {name: _averages(subsets[name]) for name in sorted(subsets)} or None


def _averages(lines: Sequence[KnowledgeLine]) -> KnowledgeAverages:
    def mean(name: str) -> Any:
        values = [float(v) for line in lines if (v := getattr(line, name)) is not None]
        return statistics.fmean(values) if values else None

    known = sum(line.mass is not None for line in lines)
    means = {name: mean(name) for name in ("mass", "even", "top", "effective", "gate")}
    return KnowledgeAverages(questions=len(lines), known=known, **means)
