"""What single pairs scored in one configuration: matching, re-ranked lists, localisation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.analysis.statistics import Interval
from amif_lightning.reports.analysis.weighted_bootstrap import (
    Area,
    Array,
    Mean,
    Measure,
    interval,
    per_seed,
)
from amif_lightning.reports.records.pairs import FindingLine, PairAverages, PairLine
from amif_lightning.reports.records.retrieval import JUDGED, StudyLine


@dataclass(frozen=True)
class Estimate:
    """A score of a configuration, or a difference of two.

    Attributes:
        seeds: Its value for each seed.
        span: The 95 % interval of their mean; None where none can be drawn.
    """

    seeds: tuple[float, ...]
    span: Interval | None

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.seeds)

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.span is not None and not self.span.low <= 0 <= self.span.high


#: The scores that configurations are compared by, higher being better.
HARD, RANDOM, RERANKED, PLACES = (
    "hard AUC",
    "random AUC",
    f"re-ranked precision@{JUDGED}",
    "localisation",
)


class LocalScores:
    """The pairs of one configuration.

    Args:
        group: Its runs; all their records have pairs, see :func:`scores_pairs`. Without a file of
            lines there are the records' averages, and no measures.
    """

    def __init__(self, group: RetrievalGroup) -> None:
        self.group = group
        self.lines = [] if group.missing else group.lines
        self.together = [] if group.missing else group.together

    @property
    def averages(self) -> list[PairAverages]:
        """The averages of each seed's record."""
        return [record.pairs for record in self.group.records if record.pairs is not None]

    def judged(self, name: str) -> list[object]:
        """What a measure is about, study by study, whatever it scored."""
        pairs = self._pairs(self.lines[0])
        if name == HARD:
            return [pair.hard for pair in pairs]
        if name == RANDOM:
            return [pair.random for pair in pairs]
        if name == RERANKED:
            return [pair.reranked is None for pair in pairs]
        return [tuple(finding[:2] for finding in pair.findings) for pair in pairs]

    def of_seeds(self, seeds: Collection[int]) -> LocalScores:
        """The same configuration with these seeds alone."""
        runs = tuple(run for run in self.group.runs if run.record.seed in seeds)
        return LocalScores(replace(self.group, runs=runs))

    def estimate(self, measure: Measure | None, minus: Measure | None = None) -> Estimate | None:
        """A score, or the difference of two; None without the score."""
        if measure is None:
            return None
        seeds = per_seed(measure, len(self.together))
        if minus is not None:
            others = per_seed(minus, len(self.together))
            seeds = [one - other for one, other in zip(seeds, others, strict=True)]
        if any(math.isnan(value) for value in seeds):
            return None
        return Estimate(tuple(seeds), interval(measure, minus, self.together))

    # ---- what can be compared between configurations -----------------------------------------

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """By name the scores that there are, higher being better."""
        made: dict[str, Measure] = {}
        if not self.lines:
            return made
        if all(average.matching_auc_hard is not None for average in self.averages):
            made[HARD] = self._area("hard")
        if all(average.matching_auc_random is not None for average in self.averages):
            made[RANDOM] = self._area("random")
        if all(average.reranked is not None for average in self.averages):
            made[RERANKED] = self.reranked
        if self.kinds:
            made[PLACES] = self.inside
        return made

    def span(self, name: str) -> Interval | None:
        """The 95 % interval of a measure's mean over seeds; None where none can be drawn."""
        found = self.estimate(self.measures.get(name))
        return None if found is None else found.span

    def _area(self, name: str) -> Area:
        odds = [[pair.matching for pair in self._pairs(run)] for run in self.lines]
        return Area(
            _table([[None if one is None else one.own for one in run] for run in odds]),
            _table([[None if one is None else getattr(one, name) for one in run] for run in odds]),
        )

    @cached_property
    def reranked(self) -> Mean:
        """Precision of the lists that matching re-ordered."""
        return _mean([[pair.reranked for pair in self._pairs(run)] for run in self.lines])

    @cached_property
    def global_order(self) -> Mean:
        """Precision of the same lists in the order of the global similarity."""
        return _mean(
            [
                [
                    None if pair.reranked is None else line.image_to_text.precision[JUDGED]
                    for line, pair in zip(run, self._pairs(run), strict=True)
                ]
                for run in self.lines
            ]
        )

    # ---- parts against their controls ---------------------------------------------------------

    @cached_property
    def gain(self) -> Estimate | None:
        """Re-ranked minus global precision of the same lists; None without re-ranked lists."""
        if RERANKED not in self.measures:
            return None
        return self.estimate(self.reranked, self.global_order)

    @cached_property
    def controls(self) -> dict[str, Estimate]:
        """Localisation minus each control that there is, over the findings that have it."""
        if PLACES not in self.measures:
            return {}
        found = {
            "another word": self.estimate(self.beside("other_word"), self.other_word),
            "the same kind elsewhere": self.estimate(self.beside("elsewhere"), self.elsewhere),
        }
        return {name: one for name, one in found.items() if one is not None}

    # ---- localisation -------------------------------------------------------------------------

    @property
    def kinds(self) -> dict[str, int]:
        """Kinds of findings whose region is known, and how many findings there are."""
        found = self.averages[0].localisation
        return {} if found is None else {kind: one.findings for kind, one in found.kinds.items()}

    @cached_property
    def inside(self) -> Mean:
        """Mass inside over area, own words."""
        return self._findings(lambda one: one.inside)

    @cached_property
    def other_word(self) -> Mean:
        """The same of another word."""
        return self._findings(lambda one: one.other_word)

    @cached_property
    def elsewhere(self) -> Mean:
        """The same inside another study's region of the same kind."""
        return self._findings(lambda one: one.elsewhere)

    def beside(self, control: str) -> Mean:
        """Own words, of the findings that have the control."""
        return self._findings(lambda one: None if getattr(one, control) is None else one.inside)

    def _findings(self, value: Callable[[FindingLine], float | None]) -> Mean:
        ratios = [
            [
                [shown / one.area for one in pair.localised if (shown := value(one)) is not None]
                for pair in self._pairs(run)
            ]
            for run in self.lines
        ]
        return Mean(
            np.array([[sum(found) for found in run] for run in ratios], dtype=np.float64),
            np.array([[len(found) for found in run] for run in ratios], dtype=np.float64),
        )

    @staticmethod
    def _pairs(run: Sequence[StudyLine]) -> list[PairLine]:
        return [line.pairs for line in run if line.pairs is not None]


def scores_pairs(group: RetrievalGroup) -> bool:
    """Whether all runs of a configuration scored pairs."""
    return all(record.pairs is not None for record in group.records)


def _table(rows: Sequence[Sequence[float | None]]) -> Array:
    return np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=np.float64)


def _mean(rows: Sequence[Sequence[float | None]]) -> Mean:
    values = _table(rows)
    there = ~np.isnan(values)
    return Mean(np.where(there, values, 0.0), there.astype(np.float64))
