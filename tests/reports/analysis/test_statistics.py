"""Intervals and tests against slow references and closed forms."""

from __future__ import annotations

import math
import random
from math import comb
from statistics import NormalDist

import numpy as np
import pytest

from amif_lightning.evaluation import Count
from amif_lightning.metrics.auc import auc
from amif_lightning.reports.analysis.statistics import (
    MIN_CLUSTERS,
    Area,
    Interval,
    Mean,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_measure,
    mcnemar,
    mean_std,
    wilson,
)


def ends(span: Interval | None) -> tuple[float, float]:
    assert span is not None
    return span.low, span.high


def width(span: Interval | None) -> float:
    low, high = ends(span)
    return high - low


@pytest.mark.parametrize(("correct", "count"), [(0, 1), (1, 1), (0, 40), (40, 40), (172, 451)])
def test_wilson_solves_its_equation(correct: int, count: int) -> None:
    """The ends are the shares p with (x/n - p)^2 = z^2 p (1 - p) / n (Wilson 1927)."""
    span, z = wilson(Count(correct, count)), NormalDist().inv_cdf(0.975)
    assert 0 <= span.low <= correct / count <= span.high <= 1
    for end in (span.low, span.high):
        assert (correct / count - end) ** 2 == pytest.approx(
            z**2 * end * (1 - end) / count, abs=1e-9
        )


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 12), (31, 22), (400, 460)])
def test_mcnemar_is_a_fair_coin_on_discordant_questions(b: int, c: int) -> None:
    first = [True] * b + [False] * c + [True, False, True]
    second = [False] * b + [True] * c + [True, False, True]
    test = mcnemar(first, second)
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1))
    assert test[:2] == (b, c)
    assert test[2] == pytest.approx(min(1.0, 2 * tail / 2 ** (b + c)), rel=1e-9)
    assert mcnemar(second, first) == (c, b, test[2])


def test_mean_and_sample_deviation() -> None:
    assert mean_std([0.5]) == (0.5, None)
    mean, deviation = mean_std([1.0, 2.0, 4.0])
    assert mean == pytest.approx(7 / 3)
    assert deviation == pytest.approx(np.std([1.0, 2.0, 4.0], ddof=1))


def _questions(seed: int, images: int) -> tuple[list[str], np.ndarray]:
    """Images with 1 to 6 questions; answers of 3 runs, correlated within an image."""
    draw = random.Random(seed)
    names, right = [], []
    for image in range(images):
        easy = draw.random()
        for _ in range(draw.randint(1, 6)):
            names.append(f"i{image}")
            right.append([draw.random() < easy for _ in range(3)])
    return names, np.array(right).T


def _slow_difference(
    first: np.ndarray, second: np.ndarray, images: list[str], draws: int, seed: int
) -> tuple[float, float]:
    """The definition word by word, with Python's own generator and quantiles by sorting."""
    draw = random.Random(seed)
    names = sorted(set(images))
    values = []
    for _ in range(draws):
        chosen = [draw.choice(names) for _ in names]
        rows = [q for name in chosen for q, image in enumerate(images) if image == name]
        one = sum(float(np.mean([run[q] for q in rows])) for run in first) / len(first)
        two = sum(float(np.mean([run[q] for q in rows])) for run in second) / len(second)
        values.append(one - two)
    values.sort()
    return values[round(0.025 * draws)], values[round(0.975 * draws) - 1]


def test_bootstrap_agrees_with_the_slow_reference() -> None:
    images, first = _questions(1, 30)
    _, more = _questions(2, 60)
    second = more[:2, : first.shape[1]]
    for other, fast in (
        (second, bootstrap_difference(first, second, images)),
        (0 * second, bootstrap_mean(first, images)),
    ):
        slow = _slow_difference(first, other, images, draws=600, seed=3)
        assert ends(fast) == pytest.approx(slow, abs=0.12 * (slow[1] - slow[0]))


def test_images_are_drawn_whole() -> None:
    # 40 images of 25 equal answers: the spread is that of 40 draws, not of 1000.
    right = np.repeat(np.arange(40) % 2 == 0, 25)
    whole = bootstrap_mean(right, [f"i{q // 25}" for q in range(1000)])
    single = bootstrap_mean(right, [f"i{q}" for q in range(1000)])
    assert width(whole) == pytest.approx(2 * 1.96 * 0.5 / 40**0.5, rel=0.1)
    assert width(single) == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.1)


def test_pairing_removes_the_shared_part() -> None:
    images, runs = _questions(4, 80)
    assert ends(bootstrap_difference(runs, runs, images)) == (0.0, 0.0)
    better = runs.copy()
    better[:, ::7] = True
    gain = bootstrap_difference(better, runs, images)
    assert ends(gain)[0] > 0
    assert width(gain) < width(bootstrap_mean(better, images))


def test_bootstrap_does_not_depend_on_the_order_of_lines_and_is_seeded() -> None:
    images, runs = _questions(5, 25)
    order = np.random.default_rng(0).permutation(len(images))
    mixed = bootstrap_mean(runs[:, order], [images[q] for q in order])
    assert mixed == bootstrap_mean(runs, images)
    assert mixed != bootstrap_mean(runs, images, seed=1)


def test_few_images_give_no_interval() -> None:
    few = [f"i{q % (MIN_CLUSTERS - 1)}" for q in range(100)]
    enough = [f"i{q % MIN_CLUSTERS}" for q in range(100)]
    right = [q % 3 == 0 for q in range(100)]
    assert bootstrap_mean(right, few) is None
    assert bootstrap_mean(right, enough) is not None


def test_bootstrap_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        bootstrap_mean([[True, False]], ["a", "b", "c"])


# ---- areas and means of findings ----------------------------------------------------------------


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
    assert np.isnan(nothing.weighted(np.ones((1, 12)))).all()
    assert bootstrap_measure(nothing, None, [str(k) for k in range(12)]) is None


def test_one_seed_gives_the_interval_of_the_plain_bootstrap() -> None:
    rng = np.random.default_rng(2)
    values, others = rng.random((2, 1, 40))
    groups = [f"p{k // 2}" for k in range(40)]
    ones = np.ones((1, 40))
    first, second = Mean(values, ones), Mean(others, ones)
    for found, plain in (
        (bootstrap_measure(first, None, groups), bootstrap_mean(values, groups)),
        (bootstrap_measure(first, second, groups), bootstrap_difference(values, others, groups)),
    ):
        assert ends(found) == pytest.approx(ends(plain))


def test_seeds_that_disagree_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    noise = 0.01 * rng.random((3, 40))
    ones, groups = np.ones((3, 40)), [str(k) for k in range(40)]
    apart = Mean(noise + np.array([[0.0], [0.5], [1.0]]), ones)
    assert width(bootstrap_measure(apart, None, groups)) > 0.5
    assert width(bootstrap_measure(Mean(noise + 0.5, ones), None, groups)) < 0.01


def test_few_groups_give_no_interval_and_the_order_of_lines_does_not_matter() -> None:
    own, negative = scores(studies=24)
    groups = [f"p{k:02d}" for k in range(24)]
    order = np.random.default_rng(4).permutation(24)
    area, moved = Area(own, negative), Area(own[:, order], negative[:, order])
    again = bootstrap_measure(moved, None, [groups[k] for k in order])
    assert ends(bootstrap_measure(area, None, groups)) == pytest.approx(ends(again))
    assert bootstrap_measure(area, None, ["one"] * 24) is None
