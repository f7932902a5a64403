"""The scores as an SVG picture: bars with intervals, floor, ceiling and shuffled-image control."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from textwrap import wrap

from amif_lightning.reports import numbers
from amif_lightning.reports.groups import Group, stratum_name
from amif_lightning.reports.record import Score
from amif_lightning.reports.retrieval_figure import search_panels
from amif_lightning.reports.retrieval_groups import RetrievalGroup
from amif_lightning.reports.seeds import count_of
from amif_lightning.reports.svg import (
    AXIS,
    BLUE,
    GREEN,
    GREY,
    HEAD,
    LEFT,
    ORANGE,
    PLOT,
    ROW,
    SKY,
    WIDTH,
    bar,
    circle,
    document,
    line,
    text,
    whiskers,
)

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
    title = "Accuracy with intervals, floors and ceilings" if groups else "Image-text retrieval"
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
        text(c + 14, y, "question-only floor"),
        circle(d + 4, y - 4, ORANGE),
        text(d + 14, y, "shuffled images"),
        line(e + 5, y - 13, e + 5, y + 5, GREEN, width=2.5),
        text(e + 14, y, "ceiling of the candidates"),
    ]


def _x(share: float) -> float:
    return LEFT + PLOT * share
