from __future__ import annotations

import pytest

from amif_lightning.reports.analysis.statistics import Interval
from amif_lightning.reports.render import numbers


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1 / 16, "6.3"),  # 6.25: rounding to even would print 6.2
        (-1 / 16, "-6.3"),
        (9 / 2000, "0.5"),  # as a float below 0.0045
        (691 / 2000, "34.6"),  # as a float below 0.3455
        (1 / 3, "33.3"),
        (-0.0001, "0.0"),
        (0.9995, "100.0"),
        (0.0, "0.0"),
    ],
)
def test_percentages_are_rounded_half_away_from_zero(share: float, text: str) -> None:
    assert numbers.percent(share) == text


def test_every_share_of_whole_numbers_is_rounded_exactly() -> None:
    for count in (7, 40, 451, 2000):
        for correct in range(count + 1):
            tenths = (2000 * correct + count) // (2 * count)  # halves up
            assert numbers.percent(correct / count) == f"{tenths // 10}.{tenths % 10}"


def test_points_carry_a_sign() -> None:
    assert numbers.points(1 / 8) == "+12.5"
    assert numbers.points(-1 / 8) == "-12.5"
    assert numbers.points(-1e-6) == "0.0"


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
