"""How numbers are written: rounded once, half away from zero, from whole-number counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from amif_lightning.reports.analysis.statistics import Interval, mean_std

# Below this many questions a percentage suggests a precision that is not there.
LEAST_FOR_PERCENT = 30
NONE = "-"


def tenths(value: Fraction) -> str:
    """``value`` with one decimal, rounded exactly, halves away from zero."""
    scaled = abs(value) * 10
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    sign = "-" if value < 0 and whole else ""
    return f"{sign}{whole // 10}.{whole % 10}"


def percent(share: Fraction) -> str:
    """A share as percent with one decimal, without the sign."""
    return tenths(share * 100)


def points(difference: Fraction) -> str:
    """A difference of shares in percentage points with its sign."""
    text = percent(difference)
    return text if text.startswith("-") or text == "0.0" else f"+{text}"


def interval(value: Interval | None) -> str:
    """An interval of a share in percent, such as ``34.0-42.3``."""
    if value is None:
        return NONE
    return f"{_tenths(value.low)}-{_tenths(value.high)}"


def points_interval(value: Interval | None) -> str:
    """An interval of a difference in points, such as ``-3.0 to +5.2``."""
    if value is None:
        return NONE
    return f"{_signed(value.low)} to {_signed(value.high)}"


def share_of(correct: Sequence[int], count: int) -> str:
    """Right answers of one or more runs on ``count`` questions: ``172, 168 of 451``."""
    return ", ".join(str(part) for part in correct) + f" of {count}"


def score(correct: Sequence[int], count: int) -> str:
    """Mean percentage with its counts, or the counts alone below `LEAST_FOR_PERCENT`."""
    counts = share_of(correct, count)
    if count < LEAST_FOR_PERCENT:
        return counts
    return f"{percent(Fraction(sum(correct), len(correct) * count))} ({counts})"


def seconds(value: float) -> str:
    """A duration a person can read: ``48 s``, ``7 min``, ``2 h 05 min``."""
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _tenths(share: float) -> str:
    return tenths(Fraction(share) * 100)


def _signed(share: float) -> str:
    return points(Fraction(share))


def over_seeds(
    values: Iterable[float | None], digits: int, span: Interval | None = None, *, scale: float = 1
) -> str:
    """Mean ± standard deviation over seeds [interval]; a dash where no seed has a value."""
    found = [scale * value for value in values if value is not None]
    if not found:
        return NONE
    mean, deviation = mean_std(found)
    spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
    between = (
        "" if span is None else f" [{scale * span.low:.{digits}f}, {scale * span.high:.{digits}f}]"
    )
    return f"{mean:.{digits}f}{spread}{between}"
