"""The scores as an SVG image: bars with intervals, baseline, ceiling and shuffled-image control."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from html import escape
from itertools import groupby
from textwrap import wrap

from amif_lightning.reports.analysis.groups import Group, stratum_name
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.analysis.seeds import compact, count_of
from amif_lightning.reports.records.answering import Score
from amif_lightning.reports.records.study_scores import JUDGED
from amif_lightning.reports.render import numbers

__all__ = ["BLUE", "GREEN", "LEFT", "PLOT", "WIDTH", "draw"]

TOP = 66


def draw(groups: Sequence[Group], searches: Sequence[RetrievalGroup] = ()) -> str:
    """An SVG document: configurations that answered, then those that searched.

    Each of the former has a panel with one bar per stratum; strata with fewer than
    `numbers.LEAST_FOR_PERCENT` questions have no percentage and no bar, and the panel names them.
    The latter share a panel per data set and split (see `retrieval_figure`).

    Args:
        groups: Configurations that answered.
        searches: Configurations that searched; at least one of either kind.

    Returns:
        The document as text; it needs no fonts or files beside it.
    """
    body: list[str] = []
    top = 0.0
    if groups:
        body, top = _legend(), TOP
    for group in groups:
        panel, top = _panel(group, top)
        body += panel
    if searches:
        panels, top = search_panels(searches, top)
        body += panels
    title = "Accuracy with intervals, baselines and ceilings" if groups else "Image-text retrieval"
    return document(title, body, top + 10)


def _panel(group: Group, top: float) -> tuple[list[str], float]:
    """One group's panel from ``top`` down, and where the next one starts."""
    strata = [name for name in group.strata if group.count(name) >= numbers.LEAST_FOR_PERCENT]
    small = [name for name in group.strata if name not in strata]
    untrained = ", UNTRAINED" if group.first.untrained else ""
    title = f"{group.label}: {group.key.experiment}, {count_of(group.runs)}{untrained}"
    parts = [text(10, top + 20, title, weight="bold", size=13)]
    first = top + HEAD
    bottom = first + ROW * len(strata)
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        parts.append(line(x, first, x, bottom + 4, GREY))
        parts.append(text(x, bottom + 17, f"{tick} %", anchor="middle", size=11))
    for index, name in enumerate(strata):
        parts += _bar(group, name, first + ROW * index)
    if small:
        listed = "; ".join(
            f"{stratum_name(name)} {numbers.share_of(group.correct(name), group.count(name))}"
            for name in small
        )
        for words in wrap(f"Too few questions for a bar: {listed}", width=140):
            bottom += 16
            parts.append(text(10, bottom + 19, words, size=11))
    return parts, bottom + AXIS


def _bar(group: Group, stratum: str, top: float) -> list[str]:
    middle = top + ROW / 2
    accuracy = group.accuracy(stratum)
    end = _x(float(accuracy))
    label = f"{stratum_name(stratum)} (n = {group.count(stratum)})"
    parts = [
        text(LEFT - 8, middle + 4, label, anchor="end"),
        bar(end - LEFT, middle, BLUE if stratum == "overall" else SKY),
    ]
    record = group.first
    parts.append(_mark(record.floors.question_only[stratum], top, ORANGE, dashed=True))
    if record.ceiling is not None:
        parts.append(_mark(record.ceiling[stratum], top, GREEN, dashed=False))
    span = group.interval(stratum)
    if span is not None:
        parts += whiskers(_x(span.low), _x(span.high), middle)
    control = group.control(stratum)
    if control is not None:
        share = Fraction(sum(control), len(control) * group.count(stratum))
        parts.append(circle(_x(float(share)), middle, ORANGE))
    written = f"{numbers.percent(accuracy)} %"
    deviation = group.deviation(stratum)
    if deviation is not None:
        written += f" ± {100 * deviation:.1f}"
    parts.append(text(LEFT + PLOT + 10, middle + 4, written))
    return parts


def _mark(score: Score, top: float, colour: str, *, dashed: bool) -> str:
    x = _x(score.correct / score.count)
    return line(x, top + 2, x, top + ROW - 2, colour, width=2.5, dashed=dashed)


def _legend() -> list[str]:
    y = 46.0
    a, b, c, d, e = 10.0, 225.0, 355.0, 515.0, 650.0  # left ends of the five entries
    return [
        text(10, 22, "Accuracy", weight="bold", size=15),
        f'<rect x="{a}" y="{y - 10}" width="18" height="12" fill="{BLUE}"/>',
        text(a + 24, y, "accuracy (mean over seeds)"),
        *whiskers(b, b + 18, y - 4),
        text(b + 24, y, "95 % interval"),
        line(c + 5, y - 13, c + 5, y + 5, ORANGE, width=2.5, dashed=True),
        text(c + 14, y, "question-only baseline"),
        circle(d + 4, y - 4, ORANGE),
        text(d + 14, y, "shuffled images"),
        line(e + 5, y - 13, e + 5, y + 5, GREEN, width=2.5),
        text(e + 14, y, "ceiling of the candidates"),
    ]


def _x(share: float) -> float:
    return LEFT + PLOT * share


RETRIEVAL_TOP = 66
# Ends of the axis in percent: the first that holds every mark of a panel is taken.
ENDS = (5, 10, 20, 40, 60, 80, 100)
TICKS = 5
# Letters of 12 pixels that the space left of the bars holds.
_LETTERS = 40


def search_panels(groups: Sequence[RetrievalGroup], top: float) -> tuple[list[str], float]:
    """A legend, and one panel per data set and split with a bar per experiment.

    Configurations with fewer than `numbers.LEAST_FOR_PERCENT` studies have no percentage and no
    bar; the panel names them.

    Args:
        groups: Sorted by data set, layout and split; at least one.
        top: Where the panels start, in pixels from the top.

    Returns:
        The elements, and where they end.
    """
    body = _retrieval_legend(top)
    top += RETRIEVAL_TOP
    for (dataset, layout, split), members in groupby(
        groups, key=lambda g: (g.key.dataset, g.key.layout, g.key.split)
    ):
        panel, top = _retrieval_panel(
            f"{dataset} {layout} [retrieval, {split}]", list(members), top
        )
        body += panel
    return body, top


def _retrieval_panel(
    title: str, groups: Sequence[RetrievalGroup], top: float
) -> tuple[list[str], float]:
    shown = [g for g in groups if g.first.studies >= numbers.LEAST_FOR_PERCENT]
    first = top + HEAD
    bottom = first + ROW * len(shown)
    end = axis_end(shown)
    studies = compact([group.first.studies for group in groups])
    parts = [text(10, top + 20, f"{title}, n = {studies}", weight="bold", size=13)]
    for number in range(TICKS + 1):
        x = LEFT + PLOT * number / TICKS
        parts.append(line(x, first, x, bottom + 4, GREY))
        written = f"{end * number / TICKS:g} %"
        parts.append(text(x, bottom + 17, written, anchor="middle", size=11))
    for index, group in enumerate(shown):
        parts += _row(group, first + ROW * index, end)
    for group in groups:
        if group not in shown:
            bottom += 16
            words = f"Too few studies for a bar: {group.name} ({group.first.studies})"
            parts.append(text(10, bottom + 19, words, size=11))
    return parts, bottom + AXIS


def axis_end(groups: Sequence[RetrievalGroup]) -> int:
    """The shortest axis that holds scores, intervals, chance and the best possible value."""
    highest = 0.0
    for group in groups:
        span = group.interval()
        marks = [*map(float, group.values()), float(group.chance()), group.first.ceiling[JUDGED]]
        highest = max(highest, *marks, span.high if span else 0.0)
    return next((end for end in ENDS if 100 * highest <= end + 1e-6), ENDS[-1])


def _row(group: RetrievalGroup, top: float, end: int) -> list[str]:
    def x(share: float) -> float:
        return LEFT + PLOT * 100 * share / end

    middle = top + ROW / 2
    mean = group.mean()
    label = f"{group.name}, {count_of(group.runs)}"
    chance, best = x(float(group.chance())), x(group.first.ceiling[JUDGED])
    parts = [
        # Smaller letters for names that would begin left of the image.
        text(LEFT - 8, middle + 4, label, anchor="end", size=min(12, 12 * _LETTERS // len(label))),
        bar(x(float(mean)) - LEFT, middle, BLUE),
        line(chance, top + 2, chance, top + ROW - 2, ORANGE, width=2.5, dashed=True),
        line(best, top + 2, best, top + ROW - 2, GREEN, width=2.5),
    ]
    span = group.interval()
    if span is not None:
        parts += whiskers(x(span.low), x(span.high), middle)
    # Below the bar: on it the dots would hide the ends of the interval.
    parts += [circle(x(float(value)), middle + 10, INK, radius=2) for value in group.values()]
    deviation = group.deviation()
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    parts.append(text(LEFT + PLOT + 10, middle + 4, f"{numbers.percent(mean)} %{spread}"))
    return parts


def _retrieval_legend(top: float) -> list[str]:
    y = top + 46
    a, b, c, d, e = 10.0, 235.0, 365.0, 455.0, 555.0  # left ends of the five entries
    title = f"Image-text retrieval: precision@{JUDGED}, mean over both directions"
    return [
        text(10, top + 22, title, weight="bold", size=15),
        f'<rect x="{a}" y="{y - 10}" width="18" height="12" fill="{BLUE}"/>',
        text(a + 24, y, f"precision@{JUDGED} (mean over seeds)"),
        *whiskers(b, b + 18, y - 4),
        text(b + 24, y, "95 % interval"),
        circle(c + 4, y - 4, INK, radius=2),
        text(c + 14, y, "one seed"),
        line(d + 5, y - 13, d + 5, y + 5, ORANGE, width=2.5, dashed=True),
        text(d + 14, y, "chance"),
        line(e + 5, y - 13, e + 5, y + 5, GREEN, width=2.5),
        text(e + 14, y, "best possible"),
    ]


# Sizes in pixels of the image.
LEFT, PLOT, RIGHT = 275, 520, 125
ROW, BAR, HEAD, AXIS = 26, 14, 34, 34
WIDTH = LEFT + PLOT + RIGHT

# Two blues light enough for marks on top of them; orange and green after Okabe and Ito, which stay
# apart for readers with colour-vision deficiencies (and the marks differ in shape besides).
BLUE, SKY, ORANGE, GREEN = "#5BA3D0", "#B3D7EE", "#D55E00", "#009E73"
INK, GREY = "#222222", "#DDDDDD"


def document(title: str, body: Sequence[str], height: float) -> str:
    """An SVG document that needs no fonts or files beside it."""
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" '
            f'viewBox="0 0 {WIDTH} {height:g}" font-family="sans-serif" font-size="12" '
            f'fill="{INK}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height:g}" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal", size: int = 12
) -> str:
    """Words that start, end or centre (``anchor``) at a point."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="{size}">{escape(words)}</text>'
    )


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str,
    *,
    width: float = 1.0,
    dashed: bool = False,
) -> str:
    """A straight line."""
    dashes = ' stroke-dasharray="4 2"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def whiskers(low: float, high: float, y: float) -> list[str]:
    """An interval along x at the height ``y``."""
    ends = [line(x, y - 4, x, y + 4, INK, width=1.5) for x in (low, high)]
    return [line(low, y, high, y, INK, width=1.5), *ends]


def bar(width: float, y: float, colour: str) -> str:
    """A bar from the left end of the plot, centred on the height ``y``."""
    return (
        f'<rect x="{LEFT}" y="{y - BAR / 2:.1f}" width="{width:.1f}" height="{BAR}" '
        f'fill="{colour}"/>'
    )


def circle(x: float, y: float, colour: str, radius: float = 4) -> str:
    """A white dot with a coloured edge."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="white" stroke="{colour}" '
        f'stroke-width="2"/>'
    )
