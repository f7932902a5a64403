"""Bars of differences are as long as the differences, on the right side of zero."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from amif_lightning.reports.page.bars import draw_differences
from amif_lightning.reports.pairs import Compared
from amif_lightning.reports.statistics import Interval


def pair(value: float, low: float, high: float, name: str = "less") -> Compared:
    share = Fraction(value).limit_denominator(10**6)
    return Compared("a < b", "data", name, "full", "accuracy", share, Interval(low, high))


def test_bars_start_at_zero_and_grow_with_the_difference() -> None:
    text = draw_differences([pair(0.04, 0.01, 0.07), pair(-0.02, -0.05, 0.01)])
    zero = float(re.findall(r'class="zero" x1="([\d.]+)"', text)[0])
    (kind, left, width), (other, start, length) = re.findall(
        r'rect class="(\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', text
    )
    assert (kind, other) == ("sure", "unsure")
    assert float(left) == pytest.approx(zero)
    assert float(start) + float(length) == pytest.approx(zero)
    assert float(width) == pytest.approx(2 * float(length), abs=0.3)
    assert "+4.0 points" in text
    assert "-2.0 points" in text
    assert "a &lt; b" in text


def test_an_interval_is_drawn_where_there_is_one() -> None:
    without = Compared("x", "data", "less", "full", "accuracy", Fraction(1, 50), None)
    text = draw_differences([without, pair(0.02, 0.01, 0.03)])
    assert text.count('class="span"') == 1
    assert re.findall(r'rect class="(\w+)"', text) == ["unsure", "sure"]


@pytest.mark.parametrize(
    ("most", "end"), [(0.0004, "0.1"), (0.011, "2"), (0.049, "5"), (0.7, "100")]
)
def test_the_axis_holds_everything(most: float, end: str) -> None:
    text = draw_differences([pair(most / 2, 0.0, most)])
    assert f">+{end}<" in text
    for x in map(float, re.findall(r"[MH]([\d.]+)", text)):
        assert 0 < x < 760


def test_a_long_name_is_cut_and_whole_on_request() -> None:
    name = "vqa-phantom-pretrained-with-a-very-long-name-behind-it"
    text = draw_differences([pair(0.01, 0.0, 0.02, name)])
    assert f"<title>{name}</title>" in text
    assert f">{name[:41]}…" in text
