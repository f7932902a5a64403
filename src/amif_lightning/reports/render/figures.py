"""Figures of scores as SVG: bars with intervals, baselines, ceilings and differences."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from itertools import groupby
from textwrap import fill
from typing import TYPE_CHECKING, Any

from amif_lightning.errors import printable
from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup, subset_name
from amif_lightning.reports.analysis.statistics import Estimate, Interval
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.comparisons import Compared
from amif_lightning.reports.render.numbers import compact, count_of

if TYPE_CHECKING:  # matplotlib is imported only to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours by the name of the page's variable (style.css), which dark mode changes. Orange, purple
#: and green are distinct for readers with colour-vision deficiencies; the marks differ in shape.
PALETTE = {
    "ink": "#1d2127",
    "card": "#ffffff",
    "grid": "#e4e2dd",
    "bar": "#5294c8",
    "baseline": "#b84d00",
    "control": "#8a3b7d",
    "ceiling": "#007a59",
}
_MARKS: dict[str, dict[str, Any]] = {
    "baseline": {"marker": "D", "ms": 6, "mfc": PALETTE["card"]},
    "control": {"marker": "o", "ms": 7, "mfc": PALETTE["card"]},
    "ceiling": {"marker": "|", "ms": 20},
}
_ANSWERING = {
    "baseline": "question-only baseline",
    "control": "shuffled images",
    "ceiling": "ceiling of the candidates",
}
_RETRIEVAL = {
    "baseline": "chance",
    "control": "same list for every query",
    "ceiling": "best possible",
}
# Ends of the axes: percent of scores, and points of differences on both sides of zero.
_ENDS = (5, 10, 20, 40, 60, 80, 100)
_REACH = (2, 5, 10, 20, 50, 100)
DPI = 72  # at this resolution a point is a pixel
# Pixels.
_HEAD, _TITLE, _ROW, _AXIS = 60, 28, 28, 36


@dataclass(frozen=True)
class Bar:
    """The score of a configuration on a subset, and its difference from the baseline if any."""

    name: str
    group: AnyGroup
    subset: str
    gap: Estimate | None = None

    @property
    def levels(self) -> dict[str, float]:
        """The available levels by the keys of the chart's marks."""
        levels = {kind: self.group.level(kind, self.subset) for kind in _MARKS}
        return {kind: level for kind, level in levels.items() if level is not None}

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the score."""
        return self.group.interval(self.subset)

    @property
    def text(self) -> str:
        """The score in percent, with its spread over seeds."""
        spread = numbers.spread(self.group.deviation(self.subset))
        return f"{numbers.percent(self.group.mean(self.subset))} %{spread}"

    @property
    def difference(self) -> str:
        """The difference from the baseline in points, with its interval."""
        if self.gap is None:
            return "not compared"
        span = numbers.points_interval(self.gap.span) if self.gap.span else "no interval"
        return f"{numbers.points(self.gap.value)} ({span})"


@dataclass(frozen=True)
class Panel:
    """Bars on one axis that ends at ``end`` percent; ``note`` names subsets without a bar."""

    title: str
    bars: Sequence[Bar]
    note: str
    end: int

    @property
    def below(self) -> str:
        """The note, split into lines."""
        return fill(self.note, 130)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return _TITLE + _ROW * len(self.bars) + _AXIS + 16 * len(self.below.splitlines())


@dataclass(frozen=True)
class Chart:
    """Panels with one legend of the levels (marks); no differences without ``baseline``."""

    title: str
    marks: Mapping[str, str]
    panels: Sequence[Panel]
    baseline: str = ""


def names_of(group: AnyGroup) -> Mapping[str, str]:
    """Return the meaning of the marks of a configuration, by the keys of its levels."""
    return _RETRIEVAL if group.first.kind == "retrieval" else _ANSWERING


def draw(groups: Sequence[AnswerGroup], searches: Sequence[SearchGroup] = ()) -> str:
    """Draw the report's figure: a panel per answering configuration and per data set searched."""
    charts = []
    if groups:
        charts.append(Chart("Accuracy", _ANSWERING, [_answers(group) for group in groups]))
    if searches:
        title = f"Image-text retrieval: precision@{JUDGED}, mean over both directions"
        panels = []
        for label, members in groupby(searches, lambda group: group.label):
            those = list(members)
            studies = compact(group.count() for group in those)
            rows = [(g, OVERALL, f"{g.name}, {count_of(g.runs)}") for g in those]
            panels.append(_panel(f"{label}, n = {studies}", rows))
        charts.append(Chart(title, _RETRIEVAL, panels))
    title = "Accuracy with intervals, baselines and ceilings" if groups else "Image-text retrieval"
    return svg(title, charts)


def comparison(
    groups: Sequence[AnyGroup], compared: Compared, baselines: Sequence[str] = ()
) -> Chart:
    """Chart configurations that scored the same questions or studies, for the page.

    The first baseline with a bar is on top; the other bars show their difference from it.
    """
    title, marks = "Accuracy on all questions", names_of(groups[0])
    if groups[0].first.kind == "retrieval":
        title = f"Precision@{JUDGED}, mean over both directions"
    named = {g.key.experiment: g.name for g in groups if g.count() >= numbers.MIN_FOR_PERCENT}
    baseline = next((named[experiment] for experiment in baselines if experiment in named), "")
    gaps = {
        pair.first.name: pair.difference
        for pair in compared.pairs
        if pair.second.name == baseline and pair.subset == OVERALL
    }
    ordered = sorted(groups, key=lambda group: group.name != baseline)  # stable
    panel = _panel("", [(group, OVERALL, group.name) for group in ordered], gaps=gaps)
    kept = {k: name for k, name in marks.items() if any(k in bar.levels for bar in panel.bars)}
    return Chart(title, kept, [panel], baseline)


def by_type(group: AnswerGroup) -> str:
    """Draw the accuracy of a configuration on each subset of questions; empty without subsets."""
    panel = _panel("", [row for row in _subsets(group) if row[1] != OVERALL])
    if not panel.bars:
        return ""
    title = f"{group.label}: accuracy of {group.name} by question type"
    return svg(title, [Chart("Accuracy by question type", _ANSWERING, [panel])], inline=True)


def _subsets(group: AnswerGroup) -> list[tuple[AnyGroup, str, str]]:
    return [(group, s, f"{subset_name(s)} (n = {group.count(s)})") for s in group.subsets]


def _answers(group: AnswerGroup) -> Panel:
    untrained = ", UNTRAINED" if group.first.untrained else ""
    title = f"{group.label}: {group.key.experiment}, {count_of(group.runs)}{untrained}"
    return _panel(title, _subsets(group), end=100)


def _panel(
    title: str,
    rows: Iterable[tuple[AnyGroup, str, str]],
    *,
    gaps: Mapping[str, Estimate] | None = None,
    end: int | None = None,
) -> Panel:
    """Make a bar for each group, subset and name, and a note on those with too few cases."""
    bars, small, cases = [], [], ""
    for group, subset, name in rows:
        if group.count(subset) >= numbers.MIN_FOR_PERCENT:
            bars.append(Bar(name, group, subset, (gaps or {}).get(name)))
            continue
        right, cases, count = group.right(subset), group.first.CASES, group.count(subset)
        small.append(f"{name}: {numbers.share_of(right, count) if right else count}")
    marks = [m for bar in bars for m in (*bar.group.values(bar.subset), *bar.levels.values())]
    marks += [bar.interval.high for bar in bars if bar.interval]
    highest = 100 * max(marks, default=0) - 1e-6
    shortest = next((end for end in _ENDS if highest <= end), _ENDS[-1])
    note = f"Too few {cases} for a bar: {'; '.join(small)}" if small else ""
    return Panel(title, bars, note, end or shortest)


# ---- drawing ------------------------------------------------------------------------------------


def svg(title: str, charts: Sequence[Chart], *, inline: bool = False) -> str:
    """Render charts, from top to bottom, as SVG; equal charts give equal bytes.

    ``title`` is the text alternative. With ``inline``, the SVG uses the page's colour variables and
    has no background.
    """
    from matplotlib.figure import Figure

    panels = [panel for chart in charts for panel in chart.panels]
    longest = max((len(bar.name) for panel in panels for bar in panel.bars), default=0)
    apart = any(chart.baseline for chart in charts)
    left, plot = 90 + 6.4 * longest, 430 if apart else 480
    width = max(left + plot + (460 if apart else 120), 940)  # the legend needs that much
    height = _HEAD * len(charts) + sum(panel.height for panel in panels)
    with style(title):
        figure = Figure((width / 72, height / 72), dpi=DPI)

        def write(words: str, top: float, **style: Any) -> None:
            figure.text(10 / width, 1 - top / height, words, **style)

        def axes_at(x: float, wide: float, top: float, panel: Panel) -> Axes:
            tall = _ROW * len(panel.bars)
            box = (x / width, 1 - (top + tall) / height, wide / width, tall / height)
            return figure.add_axes(box, facecolor="none")

        top = 0
        for chart in charts:
            write(chart.title, top + 20, weight="bold", size=15)
            legend: dict[str, Any] = {}
            above = (5 / width, 1 - (top + 24) / height)
            top += _HEAD
            for panel in chart.panels:
                write(panel.title, top + 18, weight="bold", size=13)
                if panel.bars:
                    axes = axes_at(left, plot, top + _TITLE, panel)
                    _scores(axes, chart, panel)
                    handles, names = axes.get_legend_handles_labels()
                    legend |= dict(zip(names, handles, strict=True))
                if chart.baseline:
                    axes = axes_at(left + plot + 120, 150, top + _TITLE, panel)
                    _differences(axes, chart, panel)
                top += panel.height
                write(panel.below, top - 8)
            place: Any = {"loc": "upper left", "bbox_to_anchor": above, "frameon": False}
            figure.legend([*legend.values()], [*legend], ncols=6, **place)
        return rendered(figure, title, _description(charts), inline=inline)


def style(title: str) -> AbstractContextManager[None]:
    """Return the settings of a figure with this title, unique on its page."""
    from matplotlib import rc_context

    settings: Any = {
        "svg.fonttype": "none",
        # Determines the ids of marks: figures of one page need different titles.
        "svg.hashsalt": title,
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 11,
        "text.parse_math": False,  # an experiment may have a $ in its name
        **dict.fromkeys(("text.color", "axes.labelcolor"), PALETTE["ink"]),
        **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), PALETTE["ink"]),
    }
    return rc_context(settings)


def rendered(figure: Figure, title: str, description: str, *, inline: bool) -> str:
    """Return a figure as SVG, within its `style`; see `svg`."""
    figure.set_facecolor("none" if inline else PALETTE["card"])
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing)
    text = _cleaned(stream.getvalue(), title, description, inline=inline)
    return printable(text, keep="\n")


def _scores(axes: Axes, chart: Chart, panel: Panel) -> None:
    bars = panel.bars
    _prepare(axes, len(bars), (0, panel.end))
    ticks = [panel.end * number / 5 for number in range(6)]
    axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
    axes.grid(axis="x", color=PALETTE["grid"], zorder=0)
    names = [f"{bar.name} (baseline)" if bar.name == chart.baseline else bar.name for bar in bars]
    axes.set_yticks(range(len(bars)), names)
    scores = [100 * bar.group.mean(bar.subset) for bar in bars]
    style: Any = {"color": PALETTE["bar"], "label": "mean over seeds", "zorder": 2}
    axes.barh(range(len(bars)), scores, 0.5, **style)
    _intervals(axes, [bar.interval for bar in bars])
    # Below the bar, where the dots do not hide the ends of the interval.
    seeds = [(s, y + 0.38) for y, bar in enumerate(bars) for s in bar.group.values(bar.subset)]
    _points(axes, seeds, color=PALETTE["ink"], marker="o", ms=4, label="one seed")
    for kind, name in chart.marks.items():
        marks = [(bar.levels[kind], y) for y, bar in enumerate(bars) if kind in bar.levels]
        _points(axes, marks, color=PALETTE[kind], label=name, mew=2.5, zorder=4, **_MARKS[kind])
    for y, bar in enumerate(bars):
        _label(axes, y, bar.text)


def _differences(axes: Axes, chart: Chart, panel: Panel) -> None:
    gaps = [bar.gap for bar in panel.bars]
    spans = [gap.span if gap else None for gap in gaps]
    ends = [gap.value for gap in gaps if gap]
    ends += [end for span in spans if span for end in (span.low, span.high)]
    widest = max((abs(100 * end) for end in ends), default=0.0)
    reach = next((reach for reach in _REACH if widest <= reach), _REACH[-1])
    _prepare(axes, len(gaps), (-reach, reach))
    axes.set_xticks([-reach, 0, reach], [f"−{reach}", "0", f"+{reach} points"])
    axes.axvline(0, color=PALETTE["ink"], lw=1, ls=(0, (3, 3)))
    _intervals(axes, spans)
    values = [(gap.value, y) for y, gap in enumerate(gaps) if gap]
    _points(axes, values, color=PALETTE["ink"], marker="o", ms=8)
    for y, bar in enumerate(panel.bars):
        if bar.name != chart.baseline:
            _label(axes, y, bar.difference)


def _prepare(axes: Axes, rows: int, ends: tuple[float, float]) -> None:
    axes.set(xlim=ends, ylim=(rows - 0.5, -0.5), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _intervals(axes: Axes, spans: Sequence[Interval | None]) -> None:
    found = [span for span in spans if span]
    if found:
        middles = [50 * (span.low + span.high) for span in found]
        halves = [50 * (span.high - span.low) for span in found]
        style: Any = {"fmt": "none", "color": PALETTE["ink"], "capsize": 4, "clip_on": False}
        places = [y for y, span in enumerate(spans) if span]
        axes.errorbar(middles, places, xerr=halves, label="95 % interval", zorder=3, **style)


def _points(axes: Axes, points: Sequence[tuple[float, float]], **style: Any) -> None:
    shares, places = [100 * share for share, _ in points], [y for _, y in points]
    axes.plot(shares, places, linestyle="", clip_on=False, **style)


def _label(axes: Axes, y: float, words: str) -> None:
    place = (axes.get_xlim()[1], y)
    axes.annotate(words, place, (14, 0), textcoords="offset points", va="center")


def _description(charts: Sequence[Chart]) -> str:
    lines = []
    for chart in charts:
        for panel in chart.panels:
            lines.append(f"{panel.title or chart.title}.")
            for bar in panel.bars:
                levels = [f"{chart.marks[k]} {100 * v:.1f} %" for k, v in bar.levels.items()]
                apart = [f"minus {chart.baseline} {bar.difference} points"] if bar.gap else []
                lines.append(f"{bar.name}: {', '.join([bar.text, *levels, *apart])}.")
    return " ".join(lines)


def _cleaned(text: str, title: str, description: str, *, inline: bool) -> str:
    """Add a title and a description to Matplotlib's SVG."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, count=1)  # would apply to the whole page
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)  # ids that every figure repeats
    text = re.sub(r' transform="rotate\(-0 [^"]*\)"|(?<=\d)pt(?=")', "", text)
    words = f"<title>{escape(title)}</title>\n<desc>{escape(description)}</desc>"
    head = f'<svg role="img" aria-label="{escape(title)}"'
    text = head + text.removeprefix("<svg").replace(">", f">\n{words}", 1)
    if inline:
        for name, colour in PALETTE.items():
            text = text.replace(colour, f"var(--{name})")
        return text
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'
