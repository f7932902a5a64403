"""Configurations against their baseline: bars of differences with intervals around zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from amif_lightning.reports import numbers
from amif_lightning.reports.pairs import Compared

WIDTH = 760
_LEFT, _RIGHT, _ROW, _HEAD = 270, 120, 28, 26


def draw_differences(pairs: Sequence[Compared]) -> str:
    """One picture of configurations against one baseline.

    Args:
        pairs: At least one; all against the same configuration, on the same data and score.

    Returns:
        An ``svg`` element whose ink follows the page's colours. A bar is filled where the interval
        excludes 0, and hollow where it does not.
    """
    end = _end(pairs)
    height = _HEAD + _ROW * len(pairs) + 26

    def x(points: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (points + end) / (2 * end)

    bottom = _HEAD + _ROW * len(pairs)
    parts = []
    for tick in (-end, -end / 2, 0.0, end / 2, end):
        kind = "zero" if tick == 0 else "grid"
        parts.append(
            f'<line class="{kind}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_HEAD - 4}" '
            f'y2="{bottom}"/><text x="{x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{f'{tick:+g}' if tick else 0}</text>"
        )
    for place, pair in enumerate(pairs):
        middle = _HEAD + _ROW * (place + 0.5)
        value = 100 * float(pair.value)
        left, right = sorted((x(0.0), x(value)))
        sure = pair.span is not None and not pair.span.low <= 0 <= pair.span.high
        parts.append(
            f'<rect class="{"sure" if sure else "unsure"}" x="{left:.1f}" y="{middle - 8:.1f}" '
            f'width="{max(right - left, 1.0):.1f}" height="16"/>'
        )
        name = pair.first if len(pair.first) <= 42 else pair.first[:41] + "…"
        parts.append(
            f'<text x="{_LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}'
            f"<title>{escape(pair.first)}</title></text>"
        )
        if pair.span is not None:
            low, high = x(100 * pair.span.low), x(100 * pair.span.high)
            parts.append(
                f'<path class="span" d="M{low:.1f} {middle:.1f}H{high:.1f}'
                f"M{low:.1f} {middle - 5:.1f}V{middle + 5:.1f}"
                f'M{high:.1f} {middle - 5:.1f}V{middle + 5:.1f}"/>'
            )
        parts.append(
            f'<text x="{WIDTH - _RIGHT + 14}" y="{middle + 4:.1f}">'
            f"{escape(numbers.points(pair.value))} points</text>"
        )
    words = "; ".join(pair.sentence for pair in pairs)
    return (
        f'<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(words)}">{"".join(parts)}</svg>'
    )


def _end(pairs: Sequence[Compared]) -> float:
    """Half the axis in points: the least of 1, 2, 5, 10, 20 ... that holds everything."""
    most = 0.1
    for pair in pairs:
        most = max(most, abs(100 * float(pair.value)))
        if pair.span is not None:
            most = max(most, abs(100 * pair.span.low), abs(100 * pair.span.high))
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most - 1e-9)
