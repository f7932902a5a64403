from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.reports.page.charts import BOTTOM, LEFT, RIGHT, TOP, charts, ticks
from amif_lightning.reports.page.curves import Curve, CurveTag, Panel, Row


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.floats(-1e6, 1e6).map(lambda v: round(v, 3)), st.floats(0, 1e6).map(lambda v: round(v, 3))
)
def test_ticks_are_few_round_and_cover_the_values(low: float, room: float) -> None:
    found = ticks(low, low + room)
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert 2 <= len(found) <= 7
    assert found[0] <= low + 1e-6 * abs(low) + 1e-9
    assert found[-1] >= low + room - 1e-6 * abs(low + room) - 1e-9
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6)
    assert f"{steps[0]:.6e}"[0] in "125"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 450, [0, 200, 400, 600]),
        (0.2, 0.9, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, 3, [2.6, 2.8, 3.0, 3.2, 3.4]),
    ],
)
def test_ticks_by_hand(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_lines_stand_where_the_values_say_on_axes_that_all_panels_share() -> None:
    measure = CurveTag("val/overall", "Accuracy", True)
    one = Panel("one", (Curve(3, ((0, 0.0), (200, 100.0))),))
    two = Panel("two", (Curve(1, ((100, 50.0),)),))
    first, second = charts(Row(measure, (one, two)), seeds=[0, 1, 3])
    assert first.traces[0].points == f"{LEFT},{BOTTOM} {RIGHT},{TOP}"
    assert second.traces[0].dots == (((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2),)
    assert first.y == second.y
    assert [tick.text for tick in first.x] == ["0", "50", "100", "150", "200"]
    # The place of a seed among all seeds decides its style, also where this measure lacks one.
    assert (first.traces[0].style, second.traces[0].style) == (2, 1)
    assert first.description == "seed 3: 0 % at step 0, 100 % at step 200"


def test_many_values_have_no_dots() -> None:
    points = tuple((step, float(step % 3)) for step in range(100))
    (chart,) = charts(Row(CurveTag("x", "x", False), (Panel("one", (Curve(0, points),)),)), [0])
    assert chart.traces[0].dots == ()
    assert chart.traces[0].points.count(" ") == 99


def test_a_single_value_at_step_zero_is_drawn() -> None:
    (chart,) = charts(
        Row(CurveTag("x", "x", False), (Panel("one", (Curve(0, ((0, 0.0),)),)),)), [0]
    )
    assert chart.traces[0].dots == ((LEFT, (TOP + BOTTOM) / 2),)
