"""Records of answered questions: ``predictions-<split>.jsonl`` and ``result-<split>.json``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from amif_lightning.data.schema.question_splits import protocol_label
from amif_lightning.evaluation import Count, tally
from amif_lightning.reports.records.run import OVERALL, RunRecord, Scores
from amif_lightning.reports.records.schema import (
    FieldError,
    Line,
    Model,
    Name,
    Number,
    Positive,
    Share,
    first_difference,
)

Effective = Annotated[float, Field(ge=1 - 1e-9)]


class KnowledgeLine(Model):
    """Attention of one question on the answer vocabulary; see `evaluation.VocabularyReading`."""

    mass: Share | None
    even: Share | None
    top: bool | None
    effective: Effective
    gate: Share
    read: tuple[tuple[str, Share], ...]


class KnowledgeAverages(Model):
    """Means over the questions of a subset.

    Attributes:
        questions: Number of questions.
        known: Number of questions whose answer has an entry in the vocabulary; the next three are
            means over these, and None without any.
        mass: Attention on the entries of the answer.
        even: The same for uniform attention.
        top: Share of questions whose most attended entry is one of the answer's.
        effective: Effective number of attended entries.
        gate: Openness of the gate.
    """

    questions: Positive
    known: Number
    mass: Share | None
    even: Share | None
    top: Share | None
    effective: Effective
    gate: Share


class PredictionLine(Line):
    """One question and its answer.

    Attributes:
        question_id: ``<dataset>/<split>/<row in the released file>``.
        qid: The release's own id; may be empty, as ``answer_type`` and ``question_type``.
        image: Identity of the image: equal for two questions exactly if they show the same image.
        answer: The answer as released.
        references: Normalised answers that count as correct.
        log_likelihood: Natural log of the prediction's probability; None where the method gives
            none.
        strata: Names of the subsets that count the question.
        control_prediction: Answer with another question's image; None without the control.
        baseline_correct: Whether the question-only lookup is correct; None if it was not computed.
            Older files call it ``floor_correct``.
        image_file: Path of the image relative to the data set's root, with forward slashes; None in
            older files.
        knowledge: Attention on the answer vocabulary; None without a vocabulary and in older files.
    """

    ID: ClassVar[str] = "question_id"
    CLUSTER: ClassVar[str] = "image"
    TOGETHER: ClassVar[tuple[str, ...]] = ("control_correct", "baseline_correct", "knowledge")

    question_id: str
    qid: str
    image: str
    question: str
    answer: str
    references: tuple[str, ...]
    prediction: str
    log_likelihood: float | None
    correct: bool
    answer_type: str
    question_type: str
    strata: tuple[str, ...]
    control_prediction: str | None = None
    control_correct: bool | None = None
    baseline_correct: bool | None = Field(
        default=None, validation_alias=AliasChoices("baseline_correct", "floor_correct")
    )
    image_file: str | None = None
    knowledge: KnowledgeLine | None = None

    @property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets that count the question."""
        return self.strata

    def value(self, measure: str, count: int) -> float | None:
        """Whether ``accuracy``, ``control`` or ``baseline`` is correct, or the attention mass."""
        values: dict[str, float | None] = {
            "accuracy": self.correct,
            "control": self.control_correct,
            "baseline": self.baseline_correct,
            "mass": self.knowledge.mass if self.knowledge else None,
        }
        value = values[measure]
        return None if value is None else float(value)


class Baselines(Model):
    """Scores of the no-vision baselines per subset.

    Attributes:
        question_only: Most frequent training answer of the question (or its first words).
        same_image_copy: Answer of the training question on the same image with the closest wording.
        majority: The single most frequent training answer.
    """

    question_only: Scores
    same_image_copy: Scores
    majority: Scores


class ResultRecord(RunRecord):
    """Everything that a reported score of answers needs.

    Attributes:
        MAIN: The measure that configurations are judged and compared by.
        LINE: The model of the lines next to the record, in ``FILE`` (with a place for the split).
        kind: Not written into the file, since files of answers are older than the field.
        scores: Correct answers per subset; ``overall`` is always present.
        control: The same with images permuted among the questions; None if it was not run.
        ceiling: Questions whose answer is among the candidates; None without a candidate list.
        baselines: The no-vision baselines; ``floors`` in older files.
        majority_answer: The most frequent training answer.
        candidates: Number of candidate answers; None when answers are generated freely.
        answers_from: Splits whose answers are candidates, such as ``train``.
        knowledge: Attention on the answer vocabulary per subset; None without a vocabulary and in
            older files.
    """

    MAIN: ClassVar[str] = "accuracy"
    CASES: ClassVar[str] = "questions"
    LINE: ClassVar[type[Line]] = PredictionLine
    FILE: ClassVar[str] = "predictions-{}.jsonl"

    kind: Literal["answering"] = Field(default="answering", exclude=True)
    protocol: Literal["clean", "literature"]
    scores: Scores
    control: Scores | None
    ceiling: Scores | None
    baselines: Baselines = Field(validation_alias=AliasChoices("baselines", "floors"))
    majority_answer: str
    candidates: Positive | None
    answers_from: Name
    method: Literal["rank", "generate"]
    knowledge: dict[str, KnowledgeAverages] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if OVERALL not in self.scores:
            raise FieldError("scores", "must hold the subset 'overall'")
        sizes = {name: score.count for name, score in self.scores.items()}
        counts = {"control": self.control, "ceiling": self.ceiling} | {
            f"baselines.{name}": scores for name, scores in self.baselines
        }
        tables = {
            name: {subset: score.count for subset, score in scores.items()}
            for name, scores in counts.items()
            if scores is not None
        }
        if self.knowledge is not None:
            tables["knowledge"] = {name: read.questions for name, read in self.knowledge.items()}
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
        """``clean``, or ``literature`` with what that made visible."""
        return protocol_label(self.protocol, self.split, self.answers_from)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of questions per subset, without empty subsets."""
        return {name: score.count for name, score in self.scores.items() if score.count}

    @property
    def shared(self) -> dict[str, object]:
        """What the seeds of one configuration share."""
        names = ("baselines", "ceiling", "candidates", "answers_from", "method", "untrained")
        return {"questions": self.sizes} | {name: getattr(self, name) for name in names}

    def right(self, measure: str, subset: str) -> Count | None:
        """Correct answers of the model, the control, a baseline or the ceiling."""
        tables = {
            "accuracy": self.scores,
            "control": self.control,
            "baseline": self.baselines.question_only,
            "same_image_copy": self.baselines.same_image_copy,
            "majority": self.baselines.majority,
            "ceiling": self.ceiling,
        }
        scores = tables.get(measure)
        return None if scores is None else scores[subset]

    def score(self, measure: str, subset: str, lines: Sequence[Any] | None) -> float | None:
        """The share of correct answers; None where the measure was not computed."""
        count = self.right(measure, subset)
        return None if count is None else count.share

    def numbers(self, lines: Sequence[Any]) -> tuple[dict[str, object], dict[str, object]]:
        """The numbers of the record and the same numbers computed from its lines."""
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


def predictions_path(folder: str | PathLike[str], split: str) -> Path:
    """``predictions-<split>.jsonl`` inside a run folder."""
    return Path(folder) / ResultRecord.FILE.format(split)


def counted(lines: Sequence[PredictionLine]) -> dict[str, Any]:
    """Compute the fields of a record that its lines determine."""
    subsets = [line.strata for line in lines]

    def scores(right: Iterable[bool | None]) -> Scores | None:
        flags = list(right)
        return None if None in flags else tally(subsets, map(bool, flags))

    return {
        "scores": scores(line.correct for line in lines),
        "control": scores(line.control_correct for line in lines),
        "baselines.question_only": scores(line.baseline_correct for line in lines),
        "knowledge": knowledge_averages(lines),
    }


def knowledge_averages(lines: Iterable[PredictionLine]) -> dict[str, KnowledgeAverages] | None:
    """Average the attention on the vocabulary per subset; None where no line has it."""
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
