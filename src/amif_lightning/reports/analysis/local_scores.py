"""Scores of single pairs of one configuration: matching, re-ranked lists, localisation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Sequence
from functools import cached_property

import numpy as np

from amif_lightning.reports.analysis.groups import SearchGroup
from amif_lightning.reports.analysis.statistics import (
    Area,
    Array,
    Estimate,
    Interval,
    Mean,
    Measure,
    bootstrap_measure,
)
from amif_lightning.reports.records.pairs import FindingLine, PairAverages, PairLine
from amif_lightning.reports.records.retrieval import JUDGED, StudyLine

#: The measures that configurations are compared by; higher is better.
HARD, RANDOM, RERANKED, PLACES = (
    "hard AUC",
    "random AUC",
    f"re-ranked precision@{JUDGED}",
    "localisation",
)


class LocalScores:
    """The pairs of one configuration, with pairs in all records (`scores_pairs`).

    Without the files of lines, only the records' averages are available, and no measures.
    """

    def __init__(self, group: SearchGroup) -> None:
        self.group = group
        self.lines: list[tuple[StudyLine, ...]] = [] if group.missing else group.lines
        self.clusters = [] if group.missing else group.clusters(range(group.count()))

    @property
    def averages(self) -> list[PairAverages]:
        """The averages of each seed's record."""
        return [record.pairs for record in self.group.records if record.pairs is not None]

    def judged(self, name: str) -> list[object]:
        """List what a measure compares for each study, without the scores."""
        pairs = self._pairs(self.lines[0])
        if name == RERANKED:
            return [pair.reranked is None for pair in pairs]
        if name == PLACES:
            return [tuple(finding[:2] for finding in pair.findings) for pair in pairs]
        return [pair.hard if name == HARD else pair.random for pair in pairs]

    def of_seeds(self, seeds: Collection[int]) -> LocalScores:
        """Return the same configuration with only these seeds."""
        return LocalScores(self.group.of_seeds(seeds))

    def estimate(self, measure: Measure | None, minus: Measure | None = None) -> Estimate | None:
        """Estimate a score, or the difference of two; None without the score."""
        if measure is None:
            return None
        once = np.ones((1, len(self.clusters)))
        seeds = measure.weighted(once)[0]
        if minus is not None:
            seeds = seeds - minus.weighted(once)[0]
        values = [float(value) for value in seeds]
        if any(map(math.isnan, values)):
            return None
        by_seed = {r.seed: value for r, value in zip(self.group.records, values, strict=True)}
        span = bootstrap_measure(measure, minus, self.clusters)
        return Estimate(statistics.fmean(values), span, by_seed)

    def span(self, name: str) -> Interval | None:
        """Return the 95 % interval of a measure's mean over seeds; None if not computable."""
        found = self.estimate(self.measures.get(name))
        return None if found is None else found.span

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The available measures by name; higher is better."""
        made: dict[str, Measure] = {}
        if not self.lines:
            return made
        for name, kind in ((HARD, "hard"), (RANDOM, "random")):
            if all(getattr(one, f"matching_auc_{kind}") is not None for one in self.averages):
                made[name] = self._area(kind)
        if all(average.reranked is not None for average in self.averages):
            made[RERANKED] = self._mean(
                lambda pair, line: [] if pair.reranked is None else [pair.reranked]
            )
        if self.kinds:
            made[PLACES] = self.places(lambda one: one.inside)
        return made

    def _area(self, name: str) -> Area:
        odds = [[pair.matching for pair in self._pairs(run)] for run in self.lines]

        def table(field: str) -> Array:
            rows = [[math.nan if o is None else getattr(o, field) for o in run] for run in odds]
            return np.array(rows, dtype=np.float64)  # None becomes NaN

        return Area(table("own"), table(name))

    # ---- differences from controls ------------------------------------------------------------

    @cached_property
    def gain(self) -> Estimate | None:
        """Re-ranked minus global precision of the same lists; None without re-ranked lists."""
        return self.estimate(self.measures.get(RERANKED), self.global_order)

    @property
    def global_order(self) -> Mean:
        """Precision of the re-ranked lists in the order of the global similarity."""
        return self._mean(
            lambda pair, line: (
                [] if pair.reranked is None else [line.image_to_text.precision[JUDGED]]
            )
        )

    @cached_property
    def controls(self) -> dict[str, Estimate]:
        """Localisation minus each available control, over the findings that have it."""
        if PLACES not in self.measures:
            return {}
        found = {
            "another word": self.estimate(*self.against(lambda one: one.other_word)),
            "the same kind elsewhere": self.estimate(*self.against(lambda one: one.elsewhere)),
        }
        return {name: one for name, one in found.items() if one is not None}

    @property
    def kinds(self) -> dict[str, int]:
        """Number of findings with a known region, by kind."""
        found = self.averages[0].localisation
        return {} if found is None else {kind: one.findings for kind, one in found.kinds.items()}

    def against(self, control: Callable[[FindingLine], float | None]) -> tuple[Mean, Mean]:
        """Return localisation of the findings that have a control, and the control."""
        own = self.places(lambda one: None if control(one) is None else one.inside)
        return own, self.places(control)

    def places(self, mass: Callable[[FindingLine], float | None]) -> Mean:
        """Return the mass inside the findings' regions over their area."""
        return self._mean(
            lambda pair, line: [
                inside / one.area for one in pair.localised if (inside := mass(one)) is not None
            ]
        )

    def _mean(self, values: Callable[[PairLine, StudyLine], Sequence[float]]) -> Mean:
        found = [
            [values(pair, line) for pair, line in zip(self._pairs(run), run, strict=True)]
            for run in self.lines
        ]
        return Mean(
            np.array([[sum(some) for some in run] for run in found], dtype=np.float64),
            np.array([[len(some) for some in run] for run in found], dtype=np.float64),
        )

    @staticmethod
    def _pairs(run: Sequence[StudyLine]) -> list[PairLine]:
        return [line.pairs for line in run if line.pairs is not None]


def scores_pairs(group: SearchGroup) -> bool:
    """Return whether all runs of a configuration scored pairs."""
    return all(record.pairs is not None for record in group.records)
