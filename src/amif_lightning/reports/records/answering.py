"""Answers to questions: ``predictions-<split>.jsonl`` and ``result-<split>.json``.

A record carries everything a reported score needs: the protocol, counts per subset, the ceiling of
the candidate list, the no-vision baselines, the shuffled-image control, and the run's origin.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from amif_lightning.data.schema.question_splits import protocol_label
from amif_lightning.evaluation import Count, tally
from amif_lightning.reports.records.run import OVERALL, ScoredRecord, Scores
from amif_lightning.reports.records.schema import (
    FieldError,
    Line,
    Model,
    Name,
    Number,
    Positive,
    Share,
)

Effective = Annotated[float, Field(ge=1 - 1e-9)]


class KnowledgeLine(Model):
    """What one question read of the answer vocabulary.

    Attributes:
        mass: Attention of the question on the entries that are in its answer; None where the answer
            has no entry, as for the next two.
        even: What even attention would put there: their share of the vocabulary.
        top: Whether the most attended entry is one of them.
        effective: exp of the entropy of the attention: how many entries share it, 1 or more.
        gate: Mean openness of the gate over the question's tokens and channels.
        read: The most attended entries, each with its attention.
    """

    mass: Share | None
    even: Share | None
    top: bool | None
    effective: Effective
    gate: Share
    read: tuple[tuple[str, Share], ...]

    @model_validator(mode="after")
    def _null_together(self) -> Self:
        if len({self.mass is None, self.even is None, self.top is None}) > 1:
            raise FieldError("mass", "must be null where 'even' and 'top' are, and only there")
        return self


class KnowledgeAverages(Model):
    """Means over the questions of a subset.

    Attributes:
        questions: All of them.
        known: Those whose answer has an entry; the next three are means over these, and None
            without any.
        mass: Attention on the answer's entries.
        even: What even attention would put there.
        top: Share of questions whose most attended entry is one of them.
        effective: How many entries share the attention.
        gate: Openness of the gate.
    """

    questions: Positive
    known: Number
    mass: Share | None
    even: Share | None
    top: Share | None
    effective: Effective
    gate: Share

    @model_validator(mode="after")
    def _null_without_entries(self) -> Self:
        if self.known > self.questions:
            raise FieldError("known", f"is more than the {self.questions} questions")
        for name in ("mass", "even", "top"):
            if (getattr(self, name) is None) != (self.known == 0):
                reason = "must be null where no answer has an entry, and only there"
                raise FieldError(name, reason)
        return self


class PredictionLine(Line):
    """One question with what was answered.

    Attributes:
        question_id: ``<dataset>/<split>/<row in the released file>``.
        qid: The release's own id, empty where it has none.
        image: Identity of the image: equal for two questions exactly if they show the same image.
        question: The question as asked.
        answer: The answer as released.
        references: Normalised answers that count as right.
        prediction: The answer given.
        log_likelihood: Natural log of its probability, None where the method gives none.
        correct: Whether ``prediction`` counts as right.
        answer_type: The release's closed/open field, or empty.
        question_type: The release's question type, or empty.
        strata: Names of the subsets the question is counted in.
        control_prediction: Answer with another question's image, None if the control was not run.
        control_correct: Whether that counts as right.
        baseline_correct: Whether the question-only lookup is right, None if it was not computed;
            ``floor_correct`` in older files.
        image_file: Path of the image relative to the data set's root, with forward slashes; None
            in files that are older than this field.
        knowledge: What the question read of the answer vocabulary; None where the run reads none,
            and in files that are older than this field.
    """

    ID: ClassVar[str] = "question_id"
    CLUSTER: ClassVar[str] = "image"
    ALIKE: ClassVar[tuple[str, ...]] = ("control_correct", "baseline_correct", "knowledge")

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
        """Names of the subsets that the question is counted in."""
        return self.strata

    def value(self, measure: str, count: int) -> float | None:
        """Whether it is right, also under ``control`` and ``baseline``; ``mass``: what was read."""
        values: dict[str, float | None] = {
            "accuracy": self.correct,
            "control": self.control_correct,
            "baseline": self.baseline_correct,
            "mass": self.knowledge.mass if self.knowledge else None,
        }
        value = values[measure]
        return None if value is None else float(value)


class Baselines(Model):
    """What is scored without looking at the image, per subset.

    Attributes:
        question_only: Most frequent training answer of the question (or its first words).
        same_image_copy: Answer of the training question on the same image with the closest wording.
        majority: The single most frequent training answer.
    """

    question_only: Scores
    same_image_copy: Scores
    majority: Scores


class ResultRecord(ScoredRecord):
    """Everything a reported score of answers carries; the rest is `RunRecord`'s.

    Attributes:
        kind: Not written into the file, for files of answers are older than the field.
        protocol: ``clean`` or ``literature``.
        scores: Right answers per subset; ``overall`` is always present.
        control: The same with images permuted among the questions; None if it was not run.
        ceiling: Questions whose answer is among the candidates; None without a candidate list.
        baselines: The no-vision baselines; ``floors`` in older files.
        majority_answer: The most frequent training answer.
        candidates: Number of candidate answers; None when answers are generated freely.
        answers_from: Splits whose answers are candidates, such as ``train``.
        method: ``rank`` or ``generate``.
        knowledge: By subset, what questions read of the answer vocabulary; None where the run
            reads none, and in files that are older than this field.
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
        tables = {"control": self.control, "ceiling": self.ceiling} | {
            f"baselines.{name}": scores for name, scores in dict(self.baselines).items()
        }
        for name, scores in tables.items():
            if scores is not None:
                _check_questions(name, scores, self.scores)
        for subset, read in (self.knowledge or {}).items():
            if subset not in self.scores or read.questions != self.scores[subset].count:
                raise FieldError(f"knowledge.{subset}", "must be about the questions of 'scores'")
        if self.method == "rank" and self.ceiling is not None:
            for subset, score in self.scores.items():
                # A ranked answer is a candidate: more right answers than the ceiling cannot be.
                if score.correct > self.ceiling[subset].correct:
                    raise FieldError(
                        f"scores.{subset}.correct",
                        f"is {score.correct}, above the ceiling {self.ceiling[subset].correct} "
                        "that ranking can reach",
                    )
        return self

    @property
    def protocol_label(self) -> str:
        """``clean``, or ``literature`` with what that made visible."""
        return protocol_label(self.protocol, self.split, self.answers_from)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of questions per subset."""
        return {name: score.count for name, score in self.scores.items() if score.count}

    @property
    def shared(self) -> dict[str, object]:
        """Questions, candidates and baselines."""
        names = ("baselines", "ceiling", "candidates", "answers_from", "method", "untrained")
        return {"questions": self.sizes} | {name: getattr(self, name) for name in names}

    def right(self, measure: str, subset: str) -> Count | None:
        """Of ``accuracy``, ``control``, ``baseline``, ``same_image_copy``, ``ceiling``."""
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
        """The share of right answers."""
        count = self.right(measure, subset)
        return None if count is None else count.share

    def numbers(self, lines: Sequence[Any]) -> tuple[dict[str, object], dict[str, object]]:
        """Counts, and means of what was read."""
        found = counted(lines)
        baseline = "baselines.question_only"
        said = {name: getattr(self, name) for name in found if name != baseline}
        # Not every run looked up which questions the baseline answers.
        said[baseline] = found[baseline] and self.baselines.question_only
        return said, found


def _check_questions(name: str, scores: Scores, expected: Scores) -> None:
    """Raise unless the scores are of the same subsets and numbers of questions."""
    for subset in sorted(set(scores) ^ set(expected)):
        reason = f"must have the subsets of 'scores', but '{subset}' is only in one of them"
        raise FieldError(name, reason)
    for subset, score in scores.items():
        if score.count != expected[subset].count:
            reason = f"is {score.count}, but 'scores' has {expected[subset].count}"
            raise FieldError(f"{name}.{subset}.count", reason)


def reading_text(read: Sequence[tuple[str, float]], gate: float) -> str:
    """What was read, for people: ``left 61%, small 20%; gate 0.49``."""
    entries = ", ".join(f"{entry} {share:.0%}" for entry, share in read)
    return f"{entries}; gate {gate:.2f}"


def predictions_path(folder: str | PathLike[str], split: str) -> Path:
    """``predictions-<split>.jsonl`` inside a run folder."""
    return Path(folder) / ResultRecord.FILE.format(split)


def counted(lines: Sequence[PredictionLine]) -> dict[str, Any]:
    """The parts of a record that its lines determine, by the name of the field."""
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
    """What the questions of each subset read; None where nothing was read."""
    subsets: dict[str, list[KnowledgeLine]] = {}
    for line in lines:
        if line.knowledge is not None:
            for name in line.strata:
                subsets.setdefault(name, []).append(line.knowledge)
    return {name: _averages(subsets[name]) for name in sorted(subsets)} or None


def _averages(lines: Sequence[KnowledgeLine]) -> KnowledgeAverages:
    def mean(name: str) -> float | None:
        values = [float(v) for line in lines if (v := getattr(line, name)) is not None]
        return statistics.fmean(values) if values else None

    return KnowledgeAverages(
        questions=len(lines),
        known=sum(line.mass is not None for line in lines),
        mass=mean("mass"),
        even=mean("even"),
        top=mean("top"),
        effective=statistics.fmean(line.effective for line in lines),
        gate=statistics.fmean(line.gate for line in lines),
    )
