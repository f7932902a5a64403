"""Paired comparisons of configurations that scored the same questions or studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import TypeVar

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.groups import AnyGroup, subset_name
from amif_lightning.reports.analysis.statistics import Estimate
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.markdown import Columns, Table, build, bullets, escaped

#: Without a baseline, all pairs of up to this many configurations of a split are compared: the
#: number of pairs grows with the square, and nobody reads thousands of differences.
MAX_ALL_PAIRS = 20
_SEEDS = (
    "The interval is about these trained networks; the differences per seed show how far other "
    "seeds would differ. Nothing is corrected for the number of comparisons."
)
ANSWERS_LEGEND = (
    "Difference of mean accuracies, first minus second, with a bootstrap over images paired by "
    "question. McNemar is exact and two-sided, per equal seed, on all questions (right by the "
    "first only / by the second only), and treats questions about one image as independent. The "
    f"means are over all seeds of each configuration. {_SEEDS}"
)
SEARCHES_LEGEND = (
    "Difference of {score}, first minus second, mean over both directions and over the seeds that "
    f"both have, with a bootstrap over groups of studies paired by study. {_SEEDS}"
)


@dataclass(frozen=True)
class Pair:
    """Two configurations and their difference, first minus second, on a subset.

    For retrieval both have only their common seeds; ``left_out`` names the others.
    """

    first: AnyGroup
    second: AnyGroup
    subset: str
    difference: Estimate
    left_out: str = ""


@dataclass(frozen=True)
class Compared:
    """The differences as numbers, cells and sentences, and remarks on everything not compared."""

    pairs: list[Pair]
    table: Table
    sentences: list[str]
    remarks: list[str]

    @property
    def parts(self) -> list[str]:
        """List the Markdown parts; empty if nothing is compared."""
        remarks = map(escaped, self.remarks)
        parts = [*bullets(self.sentences), *self.table.parts[1:], *remarks]
        return [f"## {self.table.title}", *parts] if parts else []


def compare(groups: Sequence[AnyGroup], baselines: Sequence[str] = ()) -> Compared:
    """Compute paired differences between experiments on the same data, protocol and split.

    ``groups`` are of one kind, sorted by data set. With ``baselines``, compare only with these
    experiments and give each result as a sentence. Without, compare all pairs of each split that
    has at most `MAX_ALL_PAIRS` configurations.
    """
    pairs: list[Pair] = []
    refused: dict[str, list[str]] = {}
    crowded: list[str] = []
    for data, those in groupby(groups, key=lambda group: group.key.dataset):
        members = list(those)
        sizes = Counter(group.key.split for group in members)
        for split, count in sizes.items():
            if count > MAX_ALL_PAIRS and not baselines:
                members = [group for group in members if group.key.split != split]
                crowded.append(
                    f"Nothing is compared on {data} {split}, because {count} configurations have "
                    f"{count * (count - 1) // 2} pairs: choose with --baseline EXPERIMENT, which "
                    "may be given several times."
                )
        for first, second in pairs_of(members, baselines):
            if first.key.split != second.key.split:
                continue  # another split is another set of cases
            reason = _not_comparable(first, second)
            if reason is None:
                pairs += _differences(first, second)
            else:
                why = f"Not compared on {data} {first.key.split}, because {reason}"
                refused.setdefault(why, []).append(f"{first.name} with {second.name}")
    searched = bool(groups) and groups[0].first.kind == "retrieval"
    sentences = [
        sentence(pair, baseline=bool(baselines))
        for pair in pairs
        if pair.subset == OVERALL and (baselines or searched)
    ]
    measure = groups[0].first.MAIN if groups else ""
    title = "Comparisons of retrieval" if searched else "Comparisons"
    legend = SEARCHES_LEGEND.format(score=measure) if searched else ANSWERS_LEGEND
    table = build(title, _columns(measure, searched=searched), pairs, legend)
    remarks = [f"{reason}: {'; '.join(names)}." for reason, names in refused.items()]
    remarks += crowded + _without_baseline(groups, baselines)
    return Compared(pairs, table, sentences, remarks)


def _not_comparable(first: AnyGroup, second: AnyGroup) -> str | None:
    labels = [group.first.protocol_label for group in (first, second)]
    if first.key.protocol != second.key.protocol:
        return f"the protocols differ ({labels[0]} and {labels[1]})"
    if first.key.layout != second.key.layout:
        return f"the layouts differ ({first.key.layout} and {second.key.layout})"
    for group in (first, second):
        if group.missing:
            return f"{group.missing[0]} is missing"
    cases = first.first.CASES
    if first.identities != second.identities:
        return f"their {cases} differ"
    if first.count() < numbers.MIN_FOR_PERCENT:
        return f"there are fewer than {numbers.MIN_FOR_PERCENT} {cases}"
    if first.first.kind == "retrieval" and not shared_seeds(first, second):
        return "they have no equal seeds"
    return None


def shared_seeds(first: AnyGroup, second: AnyGroup) -> set[int]:
    """Return the seeds that both configurations have."""
    return {r.seed for r in first.records} & {r.seed for r in second.records}


def _differences(first: AnyGroup, second: AnyGroup) -> Iterable[Pair]:
    left_out, shared = "", shared_seeds(first, second)
    if first.first.kind == "retrieval":
        others = len(first.runs) + len(second.runs) - 2 * len(shared)
        left_out = f" ({others} without a partner left out)" if others else ""
        first, second = first.of_seeds(shared), second.of_seeds(shared)
    # A question's subsets may differ between versions of the code; only shared ones are compared.
    for subset in [name for name in first.subsets if name in second.subsets]:
        chosen = first.members(subset)
        if chosen != second.members(subset) or len(chosen) < numbers.MIN_FOR_PERCENT:
            continue
        one, other = (
            dict(zip((r.seed for r in group.records), group.values(subset), strict=True))
            for group in (first, second)
        )
        difference = Estimate(
            first.mean(subset) - second.mean(subset),
            statistics.bootstrap_difference(
                first.table(chosen), second.table(chosen), first.clusters(chosen)
            ),
            {seed: one[seed] - other[seed] for seed in sorted(shared)},
        )
        yield Pair(first, second, subset, difference, left_out)


def _columns(measure: str, *, searched: bool) -> Columns[Pair]:
    start: Columns[Pair] = (
        ("data", lambda pair: f"{pair.first.key.dataset} {pair.first.key.layout}"),
        ("split", lambda pair: pair.first.key.split),
    )
    names: Columns[Pair] = (
        ("first", lambda pair: pair.first.name),
        ("second", lambda pair: pair.second.name),
    )
    title = f"difference of {measure}, points" if searched else "difference, points"
    difference: Columns[Pair] = (
        (title, lambda pair: numbers.points(pair.difference.value)),
        ("95 % interval", lambda pair: numbers.points_interval(pair.difference.span)),
    )
    if searched:
        return (
            *start,
            *names,
            ("studies", lambda pair: str(pair.first.count())),
            *difference,
            ("seeds paired", lambda pair: f"{len(pair.first.runs)}{pair.left_out}"),
            ("difference per seed", lambda pair: per_seed(pair.difference.seeds)),
        )
    return (
        *start,
        ("protocol", lambda pair: pair.first.first.protocol_label),
        *names,
        ("questions", lambda pair: subset_name(pair.subset)),
        *difference,
        ("seeds", lambda pair: f"{len(pair.first.runs)} / {len(pair.second.runs)}"),
        ("McNemar per seed", lambda pair: _mcnemar(pair) if pair.subset == OVERALL else ""),
    )


def _mcnemar(pair: Pair) -> str:
    places = range(pair.first.count())
    one, other = (
        dict(zip((r.seed for r in group.records), group.table(places), strict=True))
        for group in (pair.first, pair.second)
    )
    texts = []
    for seed in pair.difference.seeds:
        first_only, second_only, p = statistics.mcnemar(one[seed], other[seed])
        value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
        texts.append(f"seed {seed}: {first_only}/{second_only}, {value}")
    return "; ".join(texts) or "no equal seeds"


G = TypeVar("G", bound=AnyGroup)


def pairs_of(groups: Sequence[G], baselines: Sequence[str] = ()) -> list[tuple[G, G]]:
    """List the pairs to compare among groups on the same data.

    With baselines, each pair is another experiment and a baseline; without them, all pairs.
    """
    if not baselines:
        return list(combinations(groups, 2))
    return [
        (other, base)
        for place, baseline in enumerate(baselines)
        for base in groups
        if base.key.experiment == baseline
        for other in groups
        # Two baselines are compared once, the later with the earlier.
        if other.key.experiment not in baselines[: place + 1]
    ]


def _without_baseline(groups: Sequence[AnyGroup], baselines: Sequence[str]) -> list[str]:
    there: dict[tuple[str, str], set[str]] = {}
    for group in groups if baselines else ():
        there.setdefault((group.key.dataset, group.key.split), set()).add(group.key.experiment)
    return [
        f"Nothing is compared on {dataset} {split}, because the baseline "
        f"{' or '.join(baselines)} has no run there."
        for (dataset, split), experiments in there.items()
        if experiments.isdisjoint(baselines)
    ]


def check_baselines(baselines: Iterable[str], experiments: Iterable[str]) -> None:
    """Raise a UserError that names the existing experiments if a baseline has no run."""
    there = sorted(set(experiments))
    for baseline in baselines:
        if baseline not in there:
            raise UserError(
                f"--baseline {baseline}: no record belongs to that experiment; give one of "
                f"{', '.join(there)}."
            )


def sentence(pair: Pair, *, baseline: bool) -> str:
    """State whether two configurations differ, and how; ``baseline``: the second is a baseline."""
    difference, score = pair.difference, pair.first.first.MAIN
    other = f"the baseline {pair.second.name}" if baseline else pair.second.name
    seeds = per_seed(difference.seeds)
    start = f"{pair.first.label}, {pair.first.name}: "
    gap = f"{numbers.points(difference.value)} points of {score}"
    if difference.span is None:
        return (
            f"{start}unknown whether it differs from {other}: {gap}, and there is too little data "
            f"for an interval ({seeds})."
        )
    interval = f"95 % interval {numbers.points_interval(difference.span)}"
    if not difference.span.excludes_zero:
        return (
            f"{start}no evidence of a difference from {other}: {gap} ({interval}, which includes "
            f"0; {seeds})."
        )
    side = "above" if difference.span.low > 0 else "BELOW"
    return (
        f"{start}{numbers.percent(abs(difference.value))} points of {score} {side} {other}"
        f"{doubt(difference)} ({interval}, which excludes 0; {seeds})."
    )


def doubt(difference: Estimate) -> str:
    """Warn if the difference of a seed has the opposite sign of the interval."""
    agree = all(part * difference.value > 0 for part in difference.seeds.values())
    return "" if agree else ", BUT NOT IN EVERY SEED"


def per_seed(by_seed: Mapping[int, float]) -> str:
    """Format the difference of every common seed in points."""
    parts = [f"seed {seed}: {numbers.points(value)}" for seed, value in by_seed.items()]
    return ", ".join(parts) or "no equal seeds"
