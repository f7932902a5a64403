"""Which configurations are compared, and the sentence that a comparison comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import TypeVar

from amif_lightning.errors import UserError
from amif_lightning.reports import numbers
from amif_lightning.reports.markdown import markdown
from amif_lightning.reports.statistics import Interval

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
        """Sentences, table, legend and remarks in Markdown; empty where nothing is to be said."""
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
