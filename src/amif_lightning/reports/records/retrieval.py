"""Searches of a pre-training run: ``studies-<split>.jsonl`` and ``result-<split>.json``.

A record carries precision@k and recall@k in both directions, what a random order and the best one
reach, what single pairs scored, and where the run came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from amif_lightning.evaluation import Count
from amif_lightning.reports.records.pairs import PairAverages, PairLine, pair_averages
from amif_lightning.reports.records.run import OVERALL, ScoredRecord
from amif_lightning.reports.records.schema import (
    FieldError,
    Line,
    Model,
    Positive,
    Share,
    first_difference,
)

Direction = Literal["image_to_text", "text_to_image"]
DIRECTIONS: tuple[Direction, ...] = ("image_to_text", "text_to_image")
Measure = Literal["precision", "recall"]
MEASURES: tuple[Measure, ...] = ("precision", "recall")
# The number of nearest studies that reports judge by (paper, retrieval on CheXpert 5x200).
JUDGED = 5


def _rising(shares: dict[int, float]) -> dict[int, float]:
    if JUDGED not in shares or list(shares) != sorted(shares) or min(shares) < 1:
        raise ValueError(f"must have rising whole numbers as names, {JUDGED} among them")
    return shares


#: By k, the number of nearest studies that are looked at, a share.
ByK = Annotated[dict[int, Share], AfterValidator(_rising)]


class Ranking(Model):
    """Scores of one direction by k.

    Attributes:
        precision: Share of relevant studies among the k nearest.
        recall: Whether the own study is among them, or the share of studies where it is.
    """

    precision: ByK
    recall: ByK

    @property
    def ks(self) -> tuple[int, ...]:
        """The numbers k, rising."""
        return tuple(self.precision)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if tuple(self.precision) != tuple(self.recall):
            raise FieldError("recall", "must have the numbers k of 'precision'")
        values = list(self.recall.values())
        if values != sorted(values):
            raise FieldError("recall", "must not fall with k")
        return self


class StudyLine(Line):
    """What one study reached.

    Attributes:
        study_id: Id of the study.
        group: What the study stays together with, its patient.
        relevant: How many studies of the split are relevant to it, itself included.
        image_to_text: The search of its report from its image; recall is 0 or 1.
        text_to_image: The search of its image from its report; recall is 0 or 1.
        zero_shot: Whether its image's class was found; None where the data has no classes.
        pairs: What its single pairs scored; None where the task scores none, and in files from
            before they were kept.
    """

    ID: ClassVar[str] = "study_id"
    CLUSTER: ClassVar[str] = "group"
    ALIKE: ClassVar[tuple[str, ...]] = ("zero_shot", "pairs")

    study_id: str
    group: str
    relevant: Positive
    image_to_text: Ranking
    text_to_image: Ranking
    zero_shot: bool | None
    pairs: PairLine | None = None

    def mean(self, measure: Measure, k: int) -> float:
        """A score averaged over both directions."""
        return math.fsum(getattr(getattr(self, way), measure)[k] for way in DIRECTIONS) / 2

    @property
    def identity(self) -> tuple[object, ...]:
        """Id, group and number of relevant studies."""
        return self.study_id, self.group, self.relevant

    @property
    def judged(self) -> object:
        """What its pairs are."""
        return self.pairs and self.pairs.judged

    def value(self, measure: str, count: int) -> float | None:
        """A score such as ``precision@5``, or what a random order reaches (``baseline``)."""
        if measure == "baseline":
            return self.relevant / count
        name, _, k = measure.partition("@")
        return self.mean("precision" if name == "precision" else "recall", int(k))

    @classmethod
    def rules(cls, lines: Sequence[Self]) -> Iterator[tuple[int, FieldError]]:
        """Those of all lines; scores must be possible, and negatives must be other studies."""
        yield from super().rules(lines)
        first, ids = lines[0], {line.study_id for line in lines}
        for place, line in enumerate(lines):
            if line.relevant > len(lines):
                reason = f"is {line.relevant}, but the file holds {len(lines)} studies"
                yield place, FieldError("relevant", reason)
            for way in DIRECTIONS:
                if getattr(line, way).ks != first.image_to_text.ks:
                    reason = "has other numbers k than the first line"
                    yield place, FieldError(f"{way}.precision", reason)
                for error in _impossible(way, getattr(line, way), line.relevant, len(lines)):
                    yield place, error
            if line.pairs is None or first.pairs is None:
                continue
            if (line.pairs.matching is None) != (first.pairs.matching is None):
                yield place, FieldError("pairs.matching", "is null on some lines only")
            for name in ("random", "hard"):
                negative = getattr(line.pairs, name)
                if negative is not None and negative not in ids - {line.study_id}:
                    reason = f"must be another study of the file, found '{negative}'"
                    yield place, FieldError(f"pairs.{name}", reason)


def _impossible(way: str, ranking: Ranking, relevant: int, count: int) -> Iterator[FieldError]:
    """Precision and recall at k that cannot come from one order of the studies."""
    for k in ranking.ks:
        hits, own = ranking.precision[k] * min(k, count), ranking.recall[k]
        if abs(hits - round(hits)) > 1e-6 or round(hits) > relevant:
            yield FieldError(
                f"{way}.precision.{k}",
                f"must be the share of at most {relevant} relevant ones among {min(k, count)} "
                f"studies, found {ranking.precision[k]}",
            )
        # The own study is relevant to itself: found, it is one of the hits.
        if own not in (0, 1) or own > round(hits):
            reason = f"must be 0 or 1, and 0 without a hit, found {own}"
            yield FieldError(f"{way}.recall.{k}", reason)


class Averages(Model):
    """What the lines of a split come to.

    Attributes:
        studies: Number of studies N that were searched and searched for.
        image_to_text: Mean scores of searching reports from images.
        text_to_image: Mean scores of searching images from reports.
        mean: Means of both directions.
        chance: What a random order reaches on average: precision, the mean share of relevant
            studies; recall, min(k, N) / N.
        ceiling: Highest precision that any order reaches, by k: the mean of
            min(relevant, k) / min(k, N).
        zero_shot: Studies whose class was found by prompts; None where the data has no classes.
        pairs: What single pairs scored: matching, re-ranking, transport and localisation; None
            where the task scores none, and in records from before they were kept.
    """

    studies: Positive
    image_to_text: Ranking
    text_to_image: Ranking
    mean: Ranking
    chance: Ranking
    ceiling: ByK
    zero_shot: Count | None
    pairs: PairAverages | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ks, count = self.mean.ks, self.studies
        for name in (*DIRECTIONS, "chance"):
            if getattr(self, name).ks != ks:
                raise FieldError(name, "must have the numbers k of 'mean'")
        if tuple(self.ceiling) != ks:
            raise FieldError("ceiling", "must have the numbers k of 'mean'")
        for measure in MEASURES:
            first, second = (getattr(getattr(self, way), measure) for way in DIRECTIONS)
            both = {k: (first[k] + second[k]) / 2 for k in ks}
            if first_difference(getattr(self.mean, measure), both):
                raise FieldError(f"mean.{measure}", "must be the mean of both directions")
        if first_difference(self.chance.recall, {k: min(k, count) / count for k in ks}):
            raise FieldError("chance.recall", f"must be min(k, {count}) / {count}")
        for k in ks:
            best = max(getattr(self, way).precision[k] for way in DIRECTIONS)
            if best > self.ceiling[k] + 1e-9:
                raise FieldError(f"ceiling.{k}", "is below a precision that was reached")
        if self.zero_shot is not None and self.zero_shot.count != count:
            reason = f"is {self.zero_shot.count}, but 'studies' is {count}"
            raise FieldError("zero_shot.count", reason)
        lists = None if self.pairs is None else self.pairs.reranked
        if lists is not None and lists.studies > count:
            reason = f"is more than the {count} studies of the split"
            raise FieldError("pairs.reranked.studies", reason)
        return self


class RetrievalRecord(Averages, ScoredRecord):
    """Everything a reported search carries: what its lines come to, and where it came from.

    Attributes:
        kind: ``retrieval``.
        teacher_kl: Mean divergence of the model's image-text distribution from the teacher's, in
            nats; None without a teacher. A divergence of nothing may be a rounding error below 0.
    """

    MAIN: ClassVar[str] = f"precision@{JUDGED}"
    CASES: ClassVar[str] = "studies"
    LINE: ClassVar[type[Line]] = StudyLine
    FILE: ClassVar[str] = "studies-{}.jsonl"

    kind: Literal["retrieval"] = "retrieval"
    teacher_kl: Annotated[float, Field(ge=-1e-6)] | None

    @property
    def protocol_label(self) -> str:
        """Studies have no candidates, so there is one protocol."""
        return "retrieval"

    @property
    def sizes(self) -> dict[str, int]:
        """Number of studies."""
        return {OVERALL: self.studies}

    @property
    def shared(self) -> dict[str, object]:
        """Studies and what any order of them reaches."""
        return {
            "studies": self.studies,
            "untrained": self.untrained,
            "chance.precision": self.chance.precision,
            "ceiling": self.ceiling,
            "zero_shot or its lack": self.zero_shot is None,
            "teacher_kl or its lack": self.teacher_kl is None,
        }

    def score(self, measure: str, subset: str, lines: Sequence[StudyLine] | None) -> float | None:
        """Mean over both directions, such as ``precision@5``.

        ``baseline``: a random order; ``ceiling``: the best one; ``control``, which needs the lines:
        the best list that is the same for every query, those relevant to most others.
        """
        if measure == "baseline":
            return self.chance.precision[JUDGED]
        if measure == "ceiling":
            return self.ceiling[JUDGED]
        if measure == "control":
            counts = sorted((line.relevant for line in lines or ()), reverse=True)[:JUDGED]
            return sum(counts) / (len(counts) * self.studies) if counts else None
        name, _, k = measure.partition("@")
        shares: dict[int, float] = getattr(self.mean, name)
        return shares.get(int(k))

    def numbers(self, lines: Sequence[StudyLine]) -> tuple[dict[str, object], dict[str, object]]:
        """All but the divergence from the teacher."""
        return {name: getattr(self, name) for name in Averages.model_fields}, dict(averages(lines))


def averages(lines: Sequence[StudyLine]) -> Averages:
    """The numbers of a record from at least one line."""
    count = len(lines)
    ks = lines[0].image_to_text.ks

    def ranking(value: Callable[[StudyLine, Measure, int], float]) -> Ranking:
        means: dict[Measure, dict[int, float]] = {
            measure: {k: math.fsum(value(line, measure, k) for line in lines) / count for k in ks}
            for measure in MEASURES
        }
        return Ranking(precision=means["precision"], recall=means["recall"])

    chance = math.fsum(line.relevant / count for line in lines) / count
    found = [line.zero_shot for line in lines if line.zero_shot is not None]
    pairs = [line.pairs for line in lines if line.pairs is not None]
    return Averages(
        studies=count,
        image_to_text=ranking(lambda line, measure, k: getattr(line.image_to_text, measure)[k]),
        text_to_image=ranking(lambda line, measure, k: getattr(line.text_to_image, measure)[k]),
        mean=ranking(StudyLine.mean),
        chance=Ranking(
            precision=dict.fromkeys(ks, chance), recall={k: min(k, count) / count for k in ks}
        ),
        ceiling={
            k: math.fsum(min(line.relevant, k) / min(k, count) for line in lines) / count
            for k in ks
        },
        zero_shot=Count(sum(found), len(found)) if found else None,
        pairs=pair_averages(pairs, [line.image_to_text.precision[JUDGED] for line in lines])
        if pairs
        else None,
    )


def studies_path(folder: str | PathLike[str], split: str) -> Path:
    """``studies-<split>.jsonl`` inside a run folder."""
    return Path(folder) / RetrievalRecord.FILE.format(split)
