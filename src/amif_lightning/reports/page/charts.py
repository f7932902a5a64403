"""Where the lines of learning curves lie in their images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from amif_lightning.reports.page.curves import Panel, Row

# Units of a panel's view box; the page scales it to the width of its column.
WIDTH, HEIGHT = 320, 196
LEFT, RIGHT, TOP, BOTTOM = 44, 308, 10, 160
_TICKS = 4
# A dot for each value only where they stay apart.
_MOST_DOTS = 25


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Trace:
    """One seed's line: its class of colour, its points, and dots where they stay apart."""

    seed: int
    style: int
    points: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """A panel, ready to be drawn.

    Attributes:
        name: The configuration.
        description: The same in words, for readers without the image.
        x: Ticks below.
        y: Ticks at the left.
        traces: The lines.
    """

    name: str
    description: str
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    traces: tuple[Trace, ...]


def ticks(low: float, high: float, max_ticks: int = _TICKS) -> list[float]:
    """Round numbers at equal distances that cover ``low`` to ``high``.

    Args:
        low: The smallest value.
        high: The largest one; equal values are given room on both sides.
        max_ticks: About how many distances there are at most.

    Returns:
        At least two rising numbers; the first is at most ``low``, the last at least ``high``.
    """
    if not low < high:
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / max_ticks
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next((f * unit for f in (1, 2, 5) if f * unit >= rough * (1 - 1e-9)), 10 * unit)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def charts(row: Row, seeds: Sequence[int]) -> list[Chart]:
    """The panels of one measure with the same axes.

    Args:
        row: The panels.
        seeds: The seeds of all measures (`seeds_of`): a seed's place decides its colour.
    """
    points = [point for panel in row.panels for curve in panel.curves for point in curve.points]
    last = max(step for step, _ in points) or 1
    x = [step for step in ticks(0, last) if step <= last]
    y = ticks(min(value for _, value in points), max(value for _, value in points))
    return [_chart(panel, last, x, y, seeds, share=row.measure.share) for panel in row.panels]


def seeds_of(rows: Sequence[Row]) -> list[int]:
    """All seeds that have a line, rising."""
    return sorted({curve.seed for row in rows for panel in row.panels for curve in panel.curves})


def _chart(
    panel: Panel,
    last: int,
    x: Sequence[float],
    y: Sequence[float],
    seeds: Sequence[int],
    *,
    share: bool,
) -> Chart:
    def across(step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * step / last, 1)

    def up(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - y[0]) / (y[-1] - y[0]), 1)

    traces = []
    for curve in panel.curves:
        places = [(across(step), up(value)) for step, value in curve.points]
        traces.append(
            Trace(
                seed=curve.seed,
                style=seeds.index(curve.seed),
                points=" ".join(f"{a:g},{b:g}" for a, b in places),
                dots=tuple(places) if len(places) <= _MOST_DOTS else (),
            )
        )
    unit = " %" if share else ""
    ends = "; ".join(
        f"seed {curve.seed}: {curve.points[0][1]:.3g}{unit} at step {curve.points[0][0]}, "
        f"{curve.points[-1][1]:.3g}{unit} at step {curve.points[-1][0]}"
        for curve in panel.curves
    )
    return Chart(
        name=panel.name,
        description=ends,
        x=tuple(Tick(across(step), f"{step:g}") for step in x),
        y=tuple(Tick(up(value), f"{value:.6g}") for value in y),
        traces=tuple(traces),
    )
