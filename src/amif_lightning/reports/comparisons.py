"""Paired comparisons of configurations that answered the same questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import groupby

from amif_lightning.reports import numbers, statistics
from amif_lightning.reports.groups import Group, stratum_name
from amif_lightning.reports.pairs import (
    Compared,
    Gap,
    pairs_of,
    refusals,
    sentence,
    without_baseline,
)
from amif_lightning.reports.record import OVERALL

COMPARISON_LEGEND = (
    "Difference of mean accuracies, first minus second, with a bootstrap over images paired by "
    "question; McNemar is exact and two-sided, per equal seed, on all questions (right by the "
    "first only / by the second only), questions about one image taken as independent. The means "
    "are over all seeds of each. The interval speaks of these trained networks; how far other "
    "seeds would differ is seen from the differences per seed. Nothing is corrected for the number "
    "of comparisons."
)

HEADER = (
    "data",
    "split",
    "protocol",
    "first",
    "second",
    "questions",
    "difference, points",
    "95 % interval",
    "seeds",
    "McNemar per seed",
)


def comparisons(groups: Sequence[Group], baselines: Sequence[str] = ()) -> list[str]:
    """Paired differences between experiments on the same data, protocol and split.

    Args:
        groups: Sorted by data set.
        baselines: Compare with these experiments only, and say each result in a sentence.

    Returns:
        The sentences, a table with its legend, then a sentence for every pair that cannot be
        compared; empty where there is nothing to compare.
    """
    return compare(groups, baselines).parts()


def compare(groups: Sequence[Group], baselines: Sequence[str] = ()) -> Compared:
    """The same as data; see `comparisons`."""
    gaps: list[Gap] = []
    rows: list[list[str]] = []
    sentences: list[str] = []
    refused: dict[str, list[str]] = {}
    for data, members in groupby(groups, key=lambda group: group.key.dataset):
        those = list(members)
        for first, second in pairs_of(those, [g.key.experiment for g in those], baselines):
            if first.key.split != second.key.split:
                continue  # another split is another question set, not a rival
            reason = _not_comparable(first, second)
            if reason is None:
                for row, said, gap in _compare(first, second):
                    rows.append(row)
                    gaps += [gap] if gap else []
                    sentences += [said] if said and baselines else []
            else:
                why = f"Not compared on {data} {first.key.split}, for {reason}"
                refused.setdefault(why, []).append(f"{first.name} with {second.name}")
    keys = [(g.key.dataset, g.key.split, g.key.experiment) for g in groups]
    remarks = refusals(refused) + without_baseline(keys, baselines)
    return Compared(HEADER, rows, COMPARISON_LEGEND, sentences, remarks, gaps)


def _not_comparable(first: Group, second: Group) -> str | None:
    if first.key.protocol != second.key.protocol:
        return f"the protocols differ ({first.protocol} against {second.protocol})"
    if first.key.layout != second.key.layout:
        return f"the layouts differ ({first.key.layout} against {second.key.layout})"
    for group in (first, second):
        if group.missing:
            return f"{group.missing[0]} is missing"
    if [p.question_id for p in first.lines[0]] != [p.question_id for p in second.lines[0]]:
        return "they answer different questions"
    if len(first.lines[0]) < numbers.LEAST_FOR_PERCENT:
        return f"fewer than {numbers.LEAST_FOR_PERCENT} questions decide nothing"
    return None


def _compare(first: Group, second: Group) -> Iterable[tuple[list[str], str, Gap | None]]:
    """A row per stratum, and for all questions together the sentence and the gap of the pair."""
    # A question's strata may differ between releases of the code; only shared ones are compared.
    for stratum in [name for name in first.strata if name in second.strata]:
        chosen = [i for i, line in enumerate(first.lines[0]) if stratum in line.strata]
        same = chosen == [i for i, line in enumerate(second.lines[0]) if stratum in line.strata]
        if not same or len(chosen) < numbers.LEAST_FOR_PERCENT:
            continue
        span = statistics.bootstrap_difference(
            first.answers(chosen),
            second.answers(chosen),
            [first.lines[0][index].image for index in chosen],
        )
        value = first.accuracy(stratum) - second.accuracy(stratum)
        overall = stratum == OVERALL
        row = [
            f"{first.key.dataset} {first.key.layout}",
            first.key.split,
            first.protocol,
            first.name,
            second.name,
            stratum_name(stratum),
            numbers.points(value),
            numbers.points_interval(span),
            f"{len(first.runs)} / {len(second.runs)}",
            _mcnemar(first, second) if overall else "",
        ]
        said, gap = "", None
        if overall:
            gap = Gap(first.name, second.name, second.key.experiment, value, span)
            said = sentence(
                first.label,
                first.name,
                second.name,
                "accuracy",
                value,
                span,
                _by_seed(first, second),
                baseline=True,
            )
        yield row, said, gap


def _by_seed(first: Group, second: Group) -> dict[int, Fraction]:
    others = {run.record.seed: run.record for run in second.runs}
    return {
        run.record.seed: Fraction(
            run.record.scores[OVERALL].correct - others[run.record.seed].scores[OVERALL].correct,
            first.count(),
        )
        for run in first.runs
        if run.record.seed in others
    }


def _mcnemar(first: Group, second: Group) -> str:
    others = {run.record.seed: run for run in second.runs}
    texts = []
    for run in first.runs:
        other = others.get(run.record.seed)
        if other is None or run.predictions is None or other.predictions is None:
            continue
        test = statistics.mcnemar(
            [line.correct for line in run.predictions],
            [line.correct for line in other.predictions],
        )
        p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
        texts.append(f"seed {run.record.seed}: {test.first_only}/{test.second_only}, {p}")
    return "; ".join(texts) or "no equal seeds"
