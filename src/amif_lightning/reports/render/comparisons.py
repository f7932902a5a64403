"""Paired comparisons of configurations that answered the same questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, groupby
from typing import TypeVar

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.groups import Group, stratum_name
from amif_lightning.reports.analysis.statistics import Interval
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.markdown import markdown

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
                for row, claim, gap in _compare(first, second):
                    rows.append(row)
                    gaps += [gap] if gap else []
                    sentences += [claim] if claim and baselines else []
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
        claim, gap = "", None
        if overall:
            gap = Gap(first.name, second.name, second.key.experiment, value, span)
            claim = sentence(
                first.label,
                first.name,
                second.name,
                "accuracy",
                value,
                span,
                _by_seed(first, second),
                baseline=True,
            )
        yield row, claim, gap


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
            [line.correct for line in run.predictions], [line.correct for line in other.predictions]
        )
        p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
        texts.append(f"seed {run.record.seed}: {test.first_only}/{test.second_only}, {p}")
    return "; ".join(texts) or "no equal seeds"


G = TypeVar("G")


@dataclass(frozen=True)
class Gap:
    """Mean score of one experiment minus that of another, on everything that was scored.

    Attributes:
        first: Name of the first configuration.
        second: Name of the one that is subtracted.
        experiment: The second one's experiment, as ``--baseline`` names it.
        value: The difference as a share.
        span: Its 95 % interval; None where none can be drawn.
    """

    first: str
    second: str
    experiment: str
    value: Fraction
    span: Interval | None


@dataclass(frozen=True)
class Compared:
    """What the comparison of several configurations comes to.

    Attributes:
        header: Names of the table's columns.
        rows: Its cells.
        legend: How they are computed.
        sentences: What the comparisons say.
        remarks: A sentence for everything that cannot be compared.
        gaps: The differences on everything that was scored, one for each pair.
    """

    header: tuple[str, ...]
    rows: list[list[str]]
    legend: str
    sentences: list[str]
    remarks: list[str]
    gaps: list[Gap]

    def parts(self) -> list[str]:
        """Sentences, table, legend and remarks in Markdown; empty where nothing is to be claim."""
        listed = ["\n".join(f"- {text}" for text in self.sentences)] if self.sentences else []
        table = [markdown(self.header, self.rows), self.legend] if self.rows else []
        return listed + table + self.remarks


def pairs_of(
    groups: Sequence[G], experiments: Sequence[str], baselines: Sequence[str] = ()
) -> list[tuple[G, G]]:
    """The pairs to compare among groups on the same data.

    Args:
        groups: The groups.
        experiments: The experiment of each.
        baselines: Only pairs with these experiments, each other one before them; none: all pairs.
    """
    if not baselines:
        return list(combinations(groups, 2))
    named = list(zip(groups, experiments, strict=True))
    return [
        (other, base)
        for place, baseline in enumerate(baselines)
        for base, its in named
        if its == baseline
        for other, name in named
        # Of two baselines the later one is compared with the earlier one, and that once.
        if name not in baselines[: place + 1]
    ]


def without_baseline(data: Iterable[tuple[str, str, str]], baselines: Sequence[str]) -> list[str]:
    """A sentence for every data set and split that no baseline scored.

    Args:
        data: (data set, split, experiment) of every group.
        baselines: The baselines' experiments; none: no sentence.
    """
    if not baselines:
        return []
    there: dict[tuple[str, str], set[str]] = {}
    for dataset, split, experiment in data:
        there.setdefault((dataset, split), set()).add(experiment)
    return [
        f"Nothing is compared on {dataset} {split}, for no run of the baseline "
        f"{' or '.join(baselines)} is there."
        for (dataset, split), experiments in there.items()
        if experiments.isdisjoint(baselines)
    ]


def check_baselines(baselines: Iterable[str], experiments: Iterable[str]) -> None:
    """Refuse a baseline that no run belongs to.

    Raises:
        UserError: Naming the experiments that there are.
    """
    there = sorted(set(experiments))
    for baseline in baselines:
        if baseline not in there:
            raise UserError(
                f"--baseline {baseline}: no record belongs to that experiment; give one of "
                f"{', '.join(there)}."
            )


def sentence(
    head: str,
    first: str,
    second: str,
    score: str,
    value: Fraction,
    span: Interval | None,
    by_seed: Mapping[int, Fraction],
    *,
    baseline: bool,
) -> str:
    """Say whether two configurations differ, and in which direction.

    Args:
        head: The data and the split.
        first: Name of the first configuration.
        second: Name of the second one.
        score: What is compared, in words.
        value: Mean difference, first minus second, as a share.
        span: Its 95 % interval; None where none can be drawn.
        by_seed: The difference per equal seed.
        baseline: Whether the second is the baseline.
    """
    other = f"the baseline {second}" if baseline else second
    gap = f"{numbers.percent(abs(value))} points of {score}"
    seeds = per_seed(by_seed)
    start = f"{head}, {first}: "
    if span is None:
        return (
            f"{start}whether it differs from {other} is not shown: {numbers.points(value)} points "
            f"of {score}, and too little was scored for an interval ({seeds})."
        )
    written = f"95 % interval {numbers.points_interval(span)}"
    if span.low <= 0 <= span.high:
        return (
            f"{start}no evidence of a difference from {other}: {numbers.points(value)} points of "
            f"{score} ({written}, which includes 0; {seeds})."
        )
    side = "above" if span.low > 0 else "BELOW"
    agree = all((part > 0) == (span.low > 0) and part for part in by_seed.values())
    doubt = "" if agree else ", BUT NOT IN EVERY SEED"
    return f"{start}{gap} {side} {other}{doubt} ({written}, which excludes 0; {seeds})."


def per_seed(by_seed: Mapping[int, Fraction]) -> str:
    """The difference of every equal seed in points."""
    parts = [f"seed {seed}: {numbers.points(value)}" for seed, value in by_seed.items()]
    return ", ".join(parts) or "no equal seeds"


def refusals(refused: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for every reason not to compare, with the pairs that it keeps apart."""
    return [f"{reason}: {'; '.join(pairs)}." for reason, pairs in refused.items()]
