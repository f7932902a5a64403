from __future__ import annotations

from fractions import Fraction

import pytest

from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.statistics import Interval
from amif_lightning.reports.render import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(1, 16) * 100, "6.3"),  # 6.25: binary rounding to even would print 6.2
        (Fraction(-1, 16) * 100, "-6.3"),
        (Fraction(1, 3) * 100, "33.3"),
        (Fraction(-1, 100), "0.0"),
        (Fraction(9995, 100), "100.0"),
        (Fraction(0), "0.0"),
    ],
)
def test_tenths_round_half_away_from_zero(value: Fraction, text: str) -> None:
    assert numbers.tenths(value) == text


def test_means_are_rounded_as_the_ratios_that_they_are() -> None:
    # 0.0045 is 9 of 2000; as a float it lies below, and 0.45 % would be printed as 0.4.
    assert numbers.percent(Fraction(0.0045)) == "0.4"
    assert statistics.rational(0.0045) == Fraction(9, 2000)
    assert numbers.percent(statistics.rational(0.0045)) == "0.5"


def test_points_carry_a_sign() -> None:
    assert numbers.points(Fraction(1, 8)) == "+12.5"
    assert numbers.points(Fraction(-1, 8)) == "-12.5"
    assert numbers.points(Fraction(-1, 10**6)) == "0.0"


def test_intervals() -> None:
    assert numbers.interval(Interval(0.34, 0.423)) == "34.0-42.3"
    assert numbers.points_interval(Interval(-0.0301, 0.052)) == "-3.0 to +5.2"
    assert numbers.interval(None) == numbers.points_interval(None) == "-"


def test_scores_below_thirty_have_no_percentage() -> None:
    assert numbers.score([10], 29) == "10 of 29"
    assert numbers.score([10], 30) == "33.3 (10 of 30)"
    assert numbers.score([10, 11], 30) == "35.0 (10, 11 of 30)"


@pytest.mark.parametrize(
    ("value", "text"), [(48.4, "48 s"), (754.0, "13 min"), (7500.0, "2 h 05 min")]
)
def test_durations(value: float, text: str) -> None:
    assert numbers.seconds(value) == text
