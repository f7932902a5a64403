"""Paired comparisons of pre-training configurations that searched the same studies."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from typing import TypeVar

from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.comparisons import (
    Compared,
    Gap,
    pairs_of,
    per_seed,
    refusals,
    sentence,
    without_baseline,
)

V = TypeVar("V")

HEADER = (
    "data",
    "split",
    "first",
    "second",
    "studies",
    f"difference of precision@{JUDGED}, points",
    "95 % interval",
    "seeds paired",
    "difference per seed",
)

LEGEND = (
    f"Difference of precision@{JUDGED}, mean over both directions and over the seeds that both "
    "have, first minus second, with a bootstrap over groups of studies paired by study. The "
    "interval speaks of these trained networks; how far other seeds would differ is seen from the "
    "differences per seed. Nothing is corrected for the number of comparisons."
)


def retrieval_comparisons(
    groups: Sequence[RetrievalGroup], baselines: Sequence[str] = ()
) -> list[str]:
    """Paired differences between experiments on the same data and split.

    Args:
        groups: Sorted by data set.
        baselines: Compare with these experiments only; none: all pairs.

    Returns:
        A sentence per pair, a table with its legend, then a sentence for every pair that cannot be
        compared; empty where there is nothing to compare.
    """
    return compare_searches(groups, baselines).parts()


def compare_searches(groups: Sequence[RetrievalGroup], baselines: Sequence[str] = ()) -> Compared:
    """The same as data; see `retrieval_comparisons`."""
    gaps: list[Gap] = []
    rows: list[list[str]] = []
    sentences: list[str] = []
    refused: dict[str, list[str]] = {}
    for data, members in groupby(groups, key=lambda group: group.key.dataset):
        those = list(members)
        for first, second in pairs_of(those, [g.key.experiment for g in those], baselines):
            if first.key.split != second.key.split:
                continue  # another split is another set of studies, not a rival
            reason = _not_comparable(first, second)
            if reason is not None:
                why = f"Not compared on {data} {first.key.split}, for {reason}"
                refused.setdefault(why, []).append(f"{first.name} with {second.name}")
                continue
            row, claim, gap = _compare(first, second, baseline=bool(baselines))
            rows.append(row)
            gaps.append(gap)
            sentences.append(claim)
    keys = [(g.key.dataset, g.key.split, g.key.experiment) for g in groups]
    remarks = refusals(refused) + without_baseline(keys, baselines)
    return Compared(HEADER, rows, LEGEND, sentences, remarks, gaps)


def _not_comparable(first: RetrievalGroup, second: RetrievalGroup) -> str | None:
    if first.key.layout != second.key.layout:
        return f"the layouts differ ({first.key.layout} against {second.key.layout})"
    for group in (first, second):
        if group.missing:
            return f"{group.missing[0]} is missing"
    if first.studies != second.studies:
        return "they search different studies"
    if first.first.studies < numbers.LEAST_FOR_PERCENT:
        return f"fewer than {numbers.LEAST_FOR_PERCENT} studies decide nothing"
    if not _shared_seeds(first, second):
        return "they have no equal seeds"
    return None


def _shared_seeds(first: RetrievalGroup, second: RetrievalGroup) -> list[int]:
    others = {record.seed for record in second.records}
    return [record.seed for record in first.records if record.seed in others]


def _by_seed(group: RetrievalGroup, values: Sequence[V]) -> dict[int, V]:
    return {record.seed: value for record, value in zip(group.records, values, strict=True)}


def _compare(
    first: RetrievalGroup, second: RetrievalGroup, *, baseline: bool
) -> tuple[list[str], str, Gap]:
    """The row, the sentence and the gap of a pair."""
    seeds = _shared_seeds(first, second)
    one, two = _by_seed(first, first.values()), _by_seed(second, second.values())
    differences = {seed: one[seed] - two[seed] for seed in seeds}
    value = sum(differences.values(), Fraction(0)) / len(seeds)
    mine, theirs = (_by_seed(group, group.per_study("precision")) for group in (first, second))
    span = statistics.bootstrap_difference(
        [mine[seed] for seed in seeds], [theirs[seed] for seed in seeds], first.together
    )
    left_out = len(first.runs) + len(second.runs) - 2 * len(seeds)
    row = [
        f"{first.key.dataset} {first.key.layout}",
        first.key.split,
        first.name,
        second.name,
        str(first.first.studies),
        numbers.points(value),
        numbers.points_interval(span),
        f"{len(seeds)}" + (f" ({left_out} without a partner left out)" if left_out else ""),
        per_seed(differences),
    ]
    claim = sentence(
        first.label,
        first.name,
        second.name,
        f"precision@{JUDGED}",
        value,
        span,
        differences,
        baseline=baseline,
    )
    return row, claim, Gap(first.name, second.name, second.key.experiment, value, span)
