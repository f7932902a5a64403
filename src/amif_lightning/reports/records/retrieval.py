"""Records of retrieval: ``studies-<split>.jsonl`` and ``result-<split>.json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from amif_lightning.evaluation import Count
from amif_lightning.reports.records.pairs import PairAverages, PairLine, pair_averages
from amif_lightning.reports.records.run import OVERALL, RunRecord
from amif_lightning.reports.records.schema import (
    FieldError,
    Line,
    Model,
    Positive,
    Share,
)

Direction = Literal["image_to_text", "text_to_image"]
DIRECTIONS: tuple[Direction, ...] = ("image_to_text", "text_to_image")
Measure = Literal["precision", "recall"]
MEASURES: tuple[Measure, ...] = ("precision", "recall")
# The number of nearest studies that reports use (paper, retrieval on CheXpert 5x200).
JUDGED = 5


def _rising(shares: dict[int, float]) -> dict[int, float]:
    if JUDGED not in shares or list(shares) != sorted(shares) or min(shares) < 1:
        raise ValueError(f"must have rising whole numbers as names, {JUDGED} among them")
    return shares


#: A share by the number k of nearest studies.
ByK = Annotated[dict[int, Share], AfterValidator(_rising)]


class Ranking(Model):
    """Scores of one direction by k.

    Attributes:
        precision: Share of relevant studies among the k nearest.
        recall: Whether the study itself is among them, or the share of studies where it is.
    """

    precision: ByK
    recall: ByK

    @property
    def ks(self) -> tuple[int, ...]:
        """The numbers k, rising."""
        return tuple(self.precision)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        values = list(self.recall.values())
        if self.ks != tuple(self.recall) or values != sorted(values):
            raise FieldError("recall", "must have the numbers k of 'precision' and not fall with k")
        return self


class StudyLine(Line):
    """Retrieval scores of one study.

    Attributes:
        group: The study's patient or other unit of dependent studies.
        relevant: Number of studies of the split that are relevant to it, itself included.
        image_to_text: Retrieval of its report from its image; recall is 0 or 1.
        text_to_image: Retrieval of its image from its report; recall is 0 or 1.
        zero_shot: Whether its image's class was found; None where the data has no classes.
        pairs: Scores of its single pairs; None where the task scores none, and in older files.
    """

    ID: ClassVar[str] = "study_id"
    CLUSTER: ClassVar[str] = "group"
    TOGETHER: ClassVar[tuple[str, ...]] = ("zero_shot", "pairs")

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
        """Which pairs were scored; None without any."""
        return self.pairs and self.pairs.judged

    def value(self, measure: str, count: int) -> float | None:
        """A score such as ``precision@5``, or that of a random order (``baseline``)."""
        if measure == "baseline":
            return self.relevant / count
        name, _, k = measure.partition("@")
        return self.mean("precision" if name == "precision" else "recall", int(k))

    @classmethod
    def rules(cls, lines: Sequence[Self]) -> Iterator[tuple[int, FieldError]]:
        """Yield broken rules; the scores of a line must be possible for one order of studies."""
        yield from super().rules(lines)
        ks, count = lines[0].image_to_text.ks, len(lines)
        for place, line in enumerate(lines):
            if line.relevant > count:
                reason = f"is {line.relevant}, but the file holds {count} studies"
                yield place, FieldError("relevant", reason)
            for way in DIRECTIONS:
                ranking: Ranking = getattr(line, way)
                if ranking.ks != ks:
                    reason = "has other numbers k than the first line"
                    yield place, FieldError(f"{way}.precision", reason)
                for k in ranking.ks:
                    hits, own = ranking.precision[k] * min(k, count), ranking.recall[k]
                    whole = round(hits)
                    # The study is relevant to itself: when it is found, it is one of the hits.
                    possible = own in (0, 1) and own <= whole <= line.relevant
                    if not possible or abs(hits - whole) > 1e-6:
                        reason = (
                            f"and the recall at {k} are impossible: {ranking.precision[k]} and "
                            f"{own} with {line.relevant} relevant among {count} studies"
                        )
                        yield place, FieldError(f"{way}.precision.{k}", reason)


class Averages(Model):
    """Averages over the lines of a split.

    Attributes:
        studies: Number of studies N, which are queries and candidates.
        image_to_text: Mean scores of retrieving reports from images.
        text_to_image: Mean scores of retrieving images from reports.
        mean: Means of both directions.
        chance: Expected scores of a random order: precision, the mean share of relevant studies;
            recall, min(k, N) / N.
        ceiling: Highest precision that any order reaches, by k: the mean of
            min(relevant, k) / min(k, N).
        zero_shot: Studies whose class was found by prompts; None where the data has no classes.
        pairs: Averages of single pairs; None where the task scores none, and in older records.
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
        for name in (*DIRECTIONS, "chance"):
            if getattr(self, name).ks != self.mean.ks:
                raise FieldError(name, "must have the numbers k of 'mean'")
        if tuple(self.ceiling) != self.mean.ks:
            raise FieldError("ceiling", "must have the numbers k of 'mean'")
        return self


class RetrievalRecord(Averages, RunRecord):
    """Everything that a reported retrieval score needs; class variables as in `ResultRecord`.

    Attributes:
        teacher_kl: Mean divergence of the model's image-text distribution from the teacher's, in
            nats; None without a teacher. Rounding may bring a divergence of 0 slightly below 0.
    """

    MAIN: ClassVar[str] = f"precision@{JUDGED}"
    CASES: ClassVar[str] = "studies"
    LINE: ClassVar[type[Line]] = StudyLine
    FILE: ClassVar[str] = "studies-{}.jsonl"

    kind: Literal["retrieval"] = "retrieval"
    teacher_kl: Annotated[float, Field(ge=-1e-6)] | None

    @property
    def protocol_label(self) -> str:
        """Retrieval has no candidate answers, so there is one protocol."""
        return "retrieval"

    @property
    def sizes(self) -> dict[str, int]:
        """Number of studies."""
        return {OVERALL: self.studies}

    @property
    def shared(self) -> dict[str, object]:
        """What the seeds of one configuration share."""
        return {
            "studies": self.studies,
            "untrained": self.untrained,
            "chance.precision": self.chance.precision,
            "ceiling": self.ceiling,
            "zero_shot or its lack": self.zero_shot is None,
            "teacher_kl or its lack": self.teacher_kl is None,
        }

    def score(self, measure: str, subset: str, lines: Sequence[Any] | None) -> float | None:
        """Mean over both directions, such as ``precision@5``; None where it was not computed.

        ``baseline``: a random order; ``ceiling``: the best order; ``control``, which needs the
        lines: the same k most broadly relevant studies for every query.
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

    def right(self, measure: str, subset: str) -> Count | None:
        """None: retrieval scores are no counts."""
        return None

    def numbers(self, lines: Sequence[Any]) -> tuple[dict[str, object], dict[str, object]]:
        """The numbers of the record and the same numbers computed from its lines."""
        return {name: getattr(self, name) for name in Averages.model_fields}, dict(averages(lines))


def averages(lines: Sequence[StudyLine]) -> Averages:
    """Average the lines of a split, at least one."""
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
