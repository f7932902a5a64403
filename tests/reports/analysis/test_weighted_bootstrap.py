"""Weighted scores against loops that count every study as often as it was drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amif_lightning.metrics.auc import auc
from amif_lightning.reports.analysis.statistics import bootstrap_difference, bootstrap_mean
from amif_lightning.reports.analysis.weighted_bootstrap import Area, Mean, interval, per_seed


def scores(seeds: int = 3, studies: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    own, negative = rng.integers(0, 6, (2, seeds, studies)).astype(float)  # with ties
    negative[:, 3] = np.nan
    return own + 1, negative


def repeated(values: np.ndarray, times: np.ndarray) -> list[float]:
    return [float(v) for v, t in zip(values, times, strict=True) for _ in range(t) if v == v]


def test_an_area_counts_each_study_as_often_as_it_was_drawn() -> None:
    own, negative = scores()
    times = np.random.default_rng(1).integers(0, 4, (5, 12))
    found = Area(own, negative).weighted(times.astype(float))
    for draw in range(5):
        for seed in range(3):
            expected = auc(repeated(own[seed], times[draw]), repeated(negative[seed], times[draw]))
            assert found[draw, seed] == pytest.approx(expected)
    assert per_seed(Area(own, negative), 12) == pytest.approx(
        [auc(list(own[s]), repeated(negative[s], np.ones(12, dtype=int))) for s in range(3)]
    )


def test_a_mean_is_over_what_there_is() -> None:
    totals = np.array([[1.0, 0.0, 6.0], [2.0, 0.0, 0.0]])
    counts = np.array([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0]])
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 5.0, 0.0], [2.0, 0.0, 1.0]])
    found = Mean(totals, counts).weighted(weights)
    assert found[0] == pytest.approx([7 / 3, 2 / 3])
    assert math.isnan(found[1, 0])
    assert found[2] == pytest.approx([8 / 4, 4 / 4])


def test_nothing_to_compare_with_has_no_area_and_no_interval() -> None:
    own, negative = scores()
    nothing = Area(own, np.full_like(negative, np.nan))
    assert all(math.isnan(value) for value in per_seed(nothing, 12))
    assert interval(nothing, None, [str(k) for k in range(12)]) is None


def test_one_seed_gives_the_interval_of_the_plain_bootstrap() -> None:
    rng = np.random.default_rng(2)
    values, others = rng.random((2, 1, 40))
    groups = [f"p{k // 2}" for k in range(40)]
    ones = np.ones((1, 40))
    first, second = Mean(values, ones), Mean(others, ones)
    for found, plain in (
        (interval(first, None, groups), bootstrap_mean(values, groups)),
        (interval(first, second, groups), bootstrap_difference(values, others, groups)),
    ):
        assert found is not None
        assert plain is not None
        assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_seeds_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    noise = 0.01 * rng.random((3, 40))
    ones, groups = np.ones((3, 40)), [str(k) for k in range(40)]
    apart = interval(Mean(noise + np.array([[0.0], [0.5], [1.0]]), ones), None, groups)
    alike = interval(Mean(noise + 0.5, ones), None, groups)
    assert apart is not None
    assert alike is not None
    assert apart.high - apart.low > 0.5
    assert alike.high - alike.low < 0.01


def test_few_groups_give_no_interval_and_the_order_of_lines_does_not_matter() -> None:
    own, negative = scores(studies=24)
    groups = [f"p{k:02d}" for k in range(24)]
    order = np.random.default_rng(4).permutation(24)
    area = Area(own, negative)
    moved = Area(own[:, order], negative[:, order])
    there, again = interval(area, None, groups), interval(moved, None, [groups[k] for k in order])
    assert there is not None
    assert again is not None
    assert (there.low, there.high) == pytest.approx((again.low, again.high))
    assert interval(area, None, ["one"] * 24) is None
