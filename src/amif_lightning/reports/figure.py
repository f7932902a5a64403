"""The scores as an SVG picture: bars with intervals, floor, ceiling and shuffled-image control."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from html import escape
from textwrap import wrap

from amif_lightning.reports import numbers
from amif_lightning.reports.groups import Group, stratum_name
from amif_lightning.reports.record import Score

# Sizes in pixels of the picture.
LEFT, PLOT, RIGHT = 275, 520, 125
ROW, BAR, HEAD, TOP, AXIS = 26, 14, 34, 66, 34
WIDTH = LEFT + PLOT + RIGHT

# Two blues light enough for marks on top of them; orange and green after Okabe and Ito, which stay
# apart for readers with colour-vision deficiencies (and the marks differ in shape besides).
BLUE, SKY, ORANGE, GREEN = "#5BA3D0", "#B3D7EE", "#D55E00", "#009E73"
INK, GREY = "#222222", "#DDDDDD"


def draw(groups: Sequence[Group]) -> str:
    """An SVG document with one panel per group and one bar per stratum.

    Strata with fewer than `numbers.LEAST_FOR_PERCENT` questions have no percentage and no bar; each
    panel names them.

    Args:
        groups: At least one group.

    Returns:
        The document as text; it needs no fonts or files beside it.
    """
    body: list[str] = []
    top = TOP
    for group in groups:
        panel, top = _panel(group, top)
        body += panel
    height = top + 10
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" '
            f'fill="{INK}">',
            "<title>Accuracy with intervals, floors and ceilings</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *_legend(),
            *body,
            "</svg>",
            "",
        ]
    )


def _panel(group: Group, top: int) -> tuple[list[str], int]:
    """One group's panel from ``top`` down, and where the next one starts."""
    strata = [name for name in group.strata if group.count(name) >= numbers.LEAST_FOR_PERCENT]
    small = [name for name in group.strata if name not in strata]
    seeds = "1 seed" if len(group.runs) == 1 else f"{len(group.runs)} seeds"
    untrained = ", UNTRAINED" if group.first.untrained else ""
    title = f"{group.label}: {group.key.experiment}, {seeds}{untrained}"
    parts = [_text(10, top + 20, title, weight="bold", size=13)]
    first = top + HEAD
    bottom = first + ROW * len(strata)
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        parts.append(_line(x, first, x, bottom + 4, GREY))
        parts.append(_text(x, bottom + 17, f"{tick} %", anchor="middle", size=11))
    for index, name in enumerate(strata):
        parts += _bar(group, name, first + ROW * index)
    if small:
        listed = "; ".join(
            f"{stratum_name(name)} {numbers.share_of(group.correct(name), group.count(name))}"
            for name in small
        )
        for text in wrap(f"Too few questions for a bar: {listed}", width=140):
            bottom += 16
            parts.append(_text(10, bottom + 19, text, size=11))
    return parts, bottom + AXIS


def _bar(group: Group, stratum: str, top: int) -> list[str]:
    middle = top + ROW / 2
    accuracy = group.accuracy(stratum)
    end = _x(float(accuracy))
    label = f"{stratum_name(stratum)} (n = {group.count(stratum)})"
    parts = [
        _text(LEFT - 8, middle + 4, label, anchor="end"),
        f'<rect x="{LEFT}" y="{middle - BAR / 2:.1f}" width="{end - LEFT:.1f}" height="{BAR}" '
        f'fill="{BLUE if stratum == "overall" else SKY}"/>',
    ]
    record = group.first
    parts.append(_mark(record.floors.question_only[stratum], top, ORANGE, dashed=True))
    if record.ceiling is not None:
        parts.append(_mark(record.ceiling[stratum], top, GREEN, dashed=False))
    span = group.interval(stratum)
    if span is not None:
        low, high = _x(span.low), _x(span.high)
        parts.append(_line(low, middle, high, middle, INK, width=1.5))
        parts += [_line(x, middle - 4, x, middle + 4, INK, width=1.5) for x in (low, high)]
    control = group.control(stratum)
    if control is not None:
        share = Fraction(sum(control), len(control) * group.count(stratum))
        parts.append(_circle(_x(float(share)), middle))
    written = f"{numbers.percent(accuracy)} %"
    deviation = group.deviation(stratum)
    if deviation is not None:
        written += f" ± {100 * deviation:.1f}"
    parts.append(_text(LEFT + PLOT + 10, middle + 4, written))
    return parts


def _mark(score: Score, top: int, colour: str, *, dashed: bool) -> str:
    x = _x(score.correct / score.count)
    return _line(x, top + 2, x, top + ROW - 2, colour, width=2.5, dashed=dashed)


def _legend() -> list[str]:
    y = 46.0
    a, b, c, d, e = 10.0, 225.0, 355.0, 515.0, 650.0  # left ends of the five entries
    return [
        _text(10, 22, "Accuracy", weight="bold", size=15),
        f'<rect x="{a}" y="{y - 10}" width="18" height="12" fill="{BLUE}"/>',
        _text(a + 24, y, "accuracy (mean over seeds)"),
        _line(b, y - 4, b + 18, y - 4, INK, width=1.5),
        *[_line(end, y - 8, end, y, INK, width=1.5) for end in (b, b + 18)],
        _text(b + 24, y, "95 % interval"),
        _line(c + 5, y - 13, c + 5, y + 5, ORANGE, width=2.5, dashed=True),
        _text(c + 14, y, "question-only floor"),
        _circle(d + 4, y - 4),
        _text(d + 14, y, "shuffled images"),
        _line(e + 5, y - 13, e + 5, y + 5, GREEN, width=2.5),
        _text(e + 14, y, "ceiling of the candidates"),
    ]


def _circle(x: float, y: float) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="white" stroke="{ORANGE}" stroke-width="2"/>'
    )


def _x(share: float) -> float:
    return LEFT + PLOT * share


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="{size}">{escape(text)}</text>'
    )


def _line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str,
    *,
    width: float = 1.0,
    dashed: bool = False,
) -> str:
    dashes = ' stroke-dasharray="4 2"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashes}/>'
    )
