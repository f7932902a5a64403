"""Records of retrieval: ``studies-<split>.jsonl`` and ``result-<split>.json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from amif_lightning.evaluation import Count
from amif_lightning.reports.records.pairs import PairAverages, PairLine, pair_averages
from amif_lightning.reports.records.run import OVERALL, RunRecord
from amif_lightning.reports.records.schema import FieldError, Line, Model, Positive, Share

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
    """Scores of one direction by k."""

    precision: ByK  # share of relevant studies among the k nearest
    recall: ByK  # whether the study itself is among them, or the share of studies for which it is

    @property
    def ks(self) -> tuple[int, ...]:
        """The values of k, ascending."""
        return tuple(self.precision)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        values = list(self.recall.values())
        if self.ks != tuple(self.recall) or values != sorted(values):
            raise FieldError("recall", "must have the numbers k of 'precision' and not fall with k")
        return self


class StudyLine(Line):
    """Retrieval scores of one study; a recall is 0 or 1."""

    ID: ClassVar[str] = "study_id"
    CLUSTER: ClassVar[str] = "group"
    TOGETHER: ClassVar[tuple[str, ...]] = ("zero_shot", "pairs")

    study_id: str
    group: str  # the study's patient or other unit of dependent studies
    relevant: Positive  # number of relevant studies of the split, itself included
    image_to_text: Ranking  # retrieval of its report from its image
    text_to_image: Ranking  # retrieval of its image from its report
    zero_shot: bool | None  # whether the image's class was found; None if the data has no classes
    pairs: PairLine | None = None  # None if the task scores none, and in older files

    def mean(self, measure: Measure, k: int) -> float:
        """Average a score over both directions."""
        return math.fsum(getattr(getattr(self, way), measure)[k] for way in DIRECTIONS) / 2

    @property
    def identity(self) -> tuple[object, ...]:
        """Id, group and number of relevant studies."""
        return self.study_id, self.group, self.relevant

    @property
    def judged(self) -> object:
        """The scored pairs; None without any."""
        return self.pairs and self.pairs.judged

    def value(self, measure: str, count: int) -> float | None:
        """Return a score such as ``precision@5``, or that of a random order (``baseline``)."""
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
    """Averages over the lines of a split."""

    studies: Positive  # number of studies N; each is a query and a candidate
    image_to_text: Ranking
    text_to_image: Ranking
    mean: Ranking  # means of both directions
    # A random order: mean share of relevant studies (precision), min(k, N) / N (recall).
    chance: Ranking
    ceiling: ByK  # highest precision of any order: mean of min(relevant, k) / min(k, N)
    zero_shot: Count | None  # studies whose class prompts found; None if the data has no classes
    pairs: PairAverages | None = None  # None if the task scores none, and in older records

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

    ``teacher_kl`` is the mean divergence of the model's image-text distribution from the teacher's,
    in nats; None without a teacher. Rounding may bring a divergence of 0 slightly below 0.
    """

    MAIN: ClassVar[str] = f"precision@{JUDGED}"
    CASES: ClassVar[str] = "studies"
    LINE: ClassVar[type[Line]] = StudyLine
    FILE: ClassVar[str] = "studies-{}.jsonl"

    kind: Literal["retrieval"] = "retrieval"
    teacher_kl: Annotated[float, Field(ge=-1e-6, lt=1e15)] | None

    @property
    def protocol_label(self) -> str:
        """The one protocol: retrieval has no candidate answers."""
        return "retrieval"

    @property
    def sizes(self) -> dict[str, int]:
        """Number of studies."""
        return {OVERALL: self.studies}

    @property
    def shared(self) -> dict[str, object]:
        """Values that are equal in all seeds of one configuration."""
        return {
            "studies": self.studies,
            "untrained": self.untrained,
            "chance.precision": self.chance.precision,
            "ceiling": self.ceiling,
            "zero_shot or its lack": self.zero_shot is None,
            "teacher_kl or its lack": self.teacher_kl is None,
        }

    def score(self, measure: str, subset: str, lines: Sequence[Any] | None) -> float | None:
        """Average a score such as ``precision@5`` over both directions; None if not computed.

        ``baseline`` is a random order, ``ceiling`` the best order, and ``control`` the constant
        ranking: the same k most broadly relevant studies for every query, computed from ``lines``.
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
        """Return None: retrieval scores are no counts."""
        return None

    def numbers(self, lines: Sequence[Any]) -> tuple[dict[str, object], dict[str, object]]:
        """Return the numbers of the record, and the same numbers computed from its lines."""
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
