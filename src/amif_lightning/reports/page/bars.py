"""Bars of the configurations' scores with intervals, and their distances from the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.groups import Group
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.analysis.statistics import Interval
from amif_lightning.reports.records.answering import OVERALL
from amif_lightning.reports.records.study_scores import JUDGED
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.comparisons import Compared, Gap
from amif_lightning.reports.render.figures import TICKS, axis_end

# Ends of the axis of differences in points, on both sides of zero.
_REACH = (2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Mark:
    """A level beside a bar: its class on the page, its name, its place in percent, its text."""

    kind: str
    name: str
    at: float
    text: str


@dataclass(frozen=True)
class DifferenceBar:
    """Distance from the baseline: text, and places in percent of the axis of differences."""

    text: str
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Bar:
    """One configuration; places are in percent of the axis.

    Attributes:
        name: The configuration.
        baseline: Whether the others are compared with it.
        text: The score, with its spread over seeds.
        end: The end of the bar.
        low: The lower end of the interval; None without one.
        high: The upper end.
        seeds: Where each seed stands.
        marks: Other levels.
        difference: Distance from the baseline; None for itself or without one.
    """

    name: str
    baseline: bool
    text: str
    end: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]
    marks: tuple[Mark, ...]
    difference: DifferenceBar | None


@dataclass(frozen=True)
class Bars:
    """The image of one data set.

    Attributes:
        title: What the bars show.
        ticks: (place in percent, text) on the axis.
        bars: The baseline first.
        baseline: Name of the baseline, empty without one.
        reach: Largest difference of the axis of differences, in points.
        marks: Class and name of every kind of mark that occurs.
        remarks: Configurations without a bar, a sentence each.
    """

    title: str
    ticks: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    baseline: str
    reach: int
    marks: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def answer_bars(groups: Sequence[Group], compared: Compared, baselines: Sequence[str]) -> Bars:
    """Accuracies on all questions.

    Args:
        groups: Configurations that answered the same split under the same protocol.
        compared: Their comparison.
        baselines: Experiments that the user named as baselines.
    """
    shown = [g for g in groups if g.count() >= numbers.LEAST_FOR_PERCENT]
    small = tuple(
        f"{g.name}: too few questions for a bar, {numbers.share_of(g.correct(), g.count())} right."
        for g in groups
        if g.count() < numbers.LEAST_FOR_PERCENT
    )
    baseline = _baseline([(g.key.experiment, g.name) for g in shown], baselines)
    reach, gaps = _gaps(compared, baseline)
    bars = [
        _bar(
            g.name,
            baseline,
            g.accuracy(),
            g.deviation(),
            g.interval(),
            [Fraction(correct, g.count()) for correct in g.correct()],
            _answer_marks(g),
            100,
            _difference(gaps.get(g.name), reach),
        )
        for g in shown
    ]
    ticks = tuple((float(place), f"{place} %") for place in range(0, 101, 20))
    return _bars("Accuracy on all questions", ticks, bars, baseline, reach, small)


def search_bars(
    groups: Sequence[RetrievalGroup], compared: Compared, baselines: Sequence[str]
) -> Bars:
    """Precision of searches, as `answer_bars`."""
    shown = [g for g in groups if g.first.studies >= numbers.LEAST_FOR_PERCENT]
    small = tuple(
        f"{g.name}: too few studies for a bar ({g.first.studies})."
        for g in groups
        if g.first.studies < numbers.LEAST_FOR_PERCENT
    )
    baseline = _baseline([(g.key.experiment, g.name) for g in shown], baselines)
    reach, gaps = _gaps(compared, baseline)
    end = axis_end(shown)
    bars = [
        _bar(
            g.name,
            baseline,
            g.mean(),
            g.deviation(),
            g.interval(),
            g.values(),
            _search_marks(g),
            end,
            _difference(gaps.get(g.name), reach),
        )
        for g in shown
    ]
    ticks = tuple((100.0 * i / TICKS, f"{end * i / TICKS:g} %") for i in range(TICKS + 1))
    title = f"Precision@{JUDGED}, mean over both directions"
    return _bars(title, ticks, bars, baseline, reach, small)


def _baseline(configurations: Sequence[tuple[str, str]], baselines: Sequence[str]) -> str:
    """The name of the first baseline that is among the configurations, or nothing."""
    names = dict(configurations)
    return next((names[experiment] for experiment in baselines if experiment in names), "")


def _gaps(compared: Compared, baseline: str) -> tuple[int, dict[str, Gap]]:
    """The reach of the axis in points, and each configuration's difference from the baseline."""
    gaps = {gap.first: gap for gap in compared.gaps if gap.second == baseline}
    widest = max(
        (
            abs(100 * end)
            for gap in gaps.values()
            for end in (float(gap.value), *((gap.span.low, gap.span.high) if gap.span else ()))
        ),
        default=0.0,
    )
    return next((reach for reach in _REACH if widest <= reach), _REACH[-1]), gaps


def _difference(gap: Gap | None, reach: int) -> DifferenceBar | None:
    if gap is None:
        return None

    def at(share: float) -> float:
        return round(50 + 50 * 100 * share / reach, 2)

    written = f" ({numbers.points_interval(gap.span)})" if gap.span else " (no interval)"
    return DifferenceBar(
        text=numbers.points(gap.value) + written,
        at=at(float(gap.value)),
        low=at(gap.span.low) if gap.span else None,
        high=at(gap.span.high) if gap.span else None,
    )


def _bar(
    name: str,
    baseline: str,
    score: Fraction,
    deviation: float | None,
    span: Interval | None,
    seeds: Sequence[Fraction],
    marks: Sequence[tuple[str, str, Fraction]],
    axis: int,
    difference: DifferenceBar | None,
) -> Bar:
    def at(share: float) -> float:
        return round(100 * 100 * share / axis, 2)

    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return Bar(
        name=name,
        baseline=name == baseline,
        text=f"{numbers.percent(score)} %{spread}",
        end=at(float(score)),
        low=at(span.low) if span else None,
        high=at(span.high) if span else None,
        seeds=tuple(at(float(seed)) for seed in seeds),
        marks=tuple(
            Mark(kind, title, at(float(level)), f"{numbers.percent(level)} %")
            for kind, title, level in marks
        ),
        difference=difference,
    )


def _answer_marks(group: Group) -> list[tuple[str, str, Fraction]]:
    record, control = group.first, group.control()
    baseline = record.floors.question_only[OVERALL]
    marks = [("baseline", "question-only baseline", Fraction(baseline.correct, baseline.count))]
    if control is not None:
        level = Fraction(sum(control), len(control) * group.count())
        marks.append(("control", "shuffled images", level))
    if record.ceiling is not None:
        top = record.ceiling[OVERALL]
        marks.append(("ceiling", "ceiling of the candidates", Fraction(top.correct, top.count)))
    return marks


def _search_marks(group: RetrievalGroup) -> list[tuple[str, str, Fraction]]:
    marks = [("baseline", "chance", group.chance())]
    if group.constant is not None:
        marks.append(("control", "same list for every query", group.constant))
    best = statistics.rational(group.first.ceiling[JUDGED])
    return [*marks, ("ceiling", "best possible", best)]


def _bars(
    title: str,
    ticks: tuple[tuple[float, str], ...],
    bars: Sequence[Bar],
    baseline: str,
    reach: int,
    remarks: tuple[str, ...],
) -> Bars:
    kinds = dict.fromkeys((mark.kind, mark.name) for bar in bars for mark in bar.marks)
    first = sorted(bars, key=lambda bar: not bar.baseline)  # stable: the others keep their order
    return Bars(title, ticks, tuple(first), baseline, reach, tuple(kinds), remarks)
