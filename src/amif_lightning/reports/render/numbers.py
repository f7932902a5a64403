"""Number formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from amif_lightning.evaluation import SMALLEST_PRINTED_PERCENTAGE
from amif_lightning.reports.analysis.statistics import Interval, mean_std

#: With fewer questions or studies a percentage would suggest a false precision.
MIN_FOR_PERCENT = SMALLEST_PRINTED_PERCENTAGE
NONE = "-"


def percent(share: float) -> str:
    """Format a share as percent with one decimal, without the sign; round halves away from zero."""
    # 0.3425 as a float is below 0.3425; no share of whole numbers is as near to a half as this.
    text = f"{100 * share + math.copysign(1e-9, share):.1f}"
    return "0.0" if text == "-0.0" else text


def points(difference: float) -> str:
    """Format a difference of shares in percentage points with its sign."""
    text = percent(difference)
    return text if text.startswith("-") or text == "0.0" else f"+{text}"


def interval(value: Interval | None) -> str:
    """Format an interval of a share in percent, such as ``34.0-42.3``."""
    return NONE if value is None else f"{percent(value.low)}-{percent(value.high)}"


def points_interval(value: Interval | None) -> str:
    """Format an interval of a difference in points, such as ``-3.0 to +5.2``."""
    return NONE if value is None else f"{points(value.low)} to {points(value.high)}"


def share_of(correct: Sequence[int], count: int) -> str:
    """Format correct answers of one or more runs on ``count`` questions: ``172, 168 of 451``."""
    return ", ".join(str(part) for part in correct) + f" of {count}"


def score(correct: Sequence[int], count: int) -> str:
    """Format the mean percentage with its counts, or only the counts below `MIN_FOR_PERCENT`."""
    counts = share_of(correct, count)
    if count < MIN_FOR_PERCENT:
        return counts
    return f"{percent(sum(correct) / (len(correct) * count))} ({counts})"


def seconds(value: float) -> str:
    """Format a duration: ``48 s``, ``7 min``, ``2 h 05 min``."""
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def spread(deviation: float | None, digits: int = 1, scale: float = 100) -> str:
    """Format `` ± 1.2``; empty for one seed."""
    return "" if deviation is None else f" ± {scale * deviation:.{digits}f}"


def over_seeds(
    values: Iterable[float | None], digits: int, span: Interval | None = None, *, scale: float = 1
) -> str:
    """Format mean ± standard deviation over seeds [interval]; a dash if no seed has a value."""
    found = [scale * value for value in values if value is not None]
    if not found:
        return NONE
    mean, deviation = mean_std(found)
    text = f"{mean:.{digits}f}{spread(deviation, digits, 1)}"
    if span is None:
        return text
    return f"{text} [{scale * span.low:.{digits}f}, {scale * span.high:.{digits}f}]"


def compact(seeds: Iterable[object], separator: str = ", ") -> str:
    """Join values per seed: one if all are equal, else all of them."""
    values = [str(value) for value in seeds]
    return values[0] if len(set(values)) == 1 else separator.join(values)


def count_of(runs: Sequence[object]) -> str:
    """Format ``1 seed`` or ``3 seeds``."""
    return "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
