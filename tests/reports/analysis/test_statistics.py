from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binomtest

from amif_lightning.reports.analysis.statistics import (
    LEAST_IMAGES,
    bootstrap_difference,
    bootstrap_mean,
    mcnemar,
    mean_std,
    wilson,
)


@pytest.mark.parametrize(("correct", "count"), [(0, 1), (1, 1), (0, 40), (40, 40), (172, 451)])
def test_wilson_is_scipys(correct: int, count: int) -> None:
    mine = wilson(correct, count)
    theirs = binomtest(correct, count).proportion_ci(confidence_level=0.95, method="wilson")
    assert mine.low == pytest.approx(theirs.low, abs=1e-12)
    assert mine.high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= mine.low <= correct / count <= mine.high <= 1


@pytest.mark.parametrize(("correct", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(correct: int, count: int) -> None:
    with pytest.raises(ValueError, match="0 <= correct <= count"):
        wilson(correct, count)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 12), (31, 22), (400, 460)])
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    first = [True] * b + [False] * c + [True, False, True]
    second = [False] * b + [True] * c + [True, False, True]
    test = mcnemar(first, second)
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert (test.first_only, test.second_only) == (b, c)
    assert test.p == pytest.approx(expected, rel=1e-9)
    assert mcnemar(second, first).p == test.p


def test_mcnemar_survives_large_counts() -> None:
    test = mcnemar([True] * 5000 + [False] * 4000, [False] * 5000 + [True] * 4000)
    assert test.p == pytest.approx(binomtest(5000, 9000).pvalue, rel=1e-6)


def test_mcnemar_refuses_other_lengths() -> None:
    with pytest.raises(ValueError, match="zip"):
        mcnemar([True], [True, False])


def test_mean_and_sample_deviation() -> None:
    assert mean_std([0.5]) == (0.5, None)
    mean, deviation = mean_std([1.0, 2.0, 4.0])
    assert mean == pytest.approx(7 / 3)
    assert deviation == pytest.approx(np.std([1.0, 2.0, 4.0], ddof=1))


def _questions(seed: int, images: int) -> tuple[list[str], np.ndarray]:
    """Images with 1 to 6 questions; answers of 3 runs, alike within an image."""
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
    _, other = _questions(2, 60)
    second = other[:2, : first.shape[1]]
    slow = _slow_difference(first, second, images, draws=600, seed=3)
    fast = bootstrap_difference(first, second, images)
    assert fast is not None
    width = slow[1] - slow[0]
    assert fast.low == pytest.approx(slow[0], abs=0.12 * width)
    assert fast.high == pytest.approx(slow[1], abs=0.12 * width)
    alone = bootstrap_mean(first, images)
    slow_alone = _slow_difference(first, 0 * second, images, draws=600, seed=3)
    assert alone is not None
    assert alone.low == pytest.approx(slow_alone[0], abs=0.12 * (slow_alone[1] - slow_alone[0]))
    assert alone.high == pytest.approx(slow_alone[1], abs=0.12 * (slow_alone[1] - slow_alone[0]))


def test_images_are_drawn_whole() -> None:
    # 40 images of 25 equal answers: the spread is that of 40 draws, not of 1000.
    right = np.repeat(np.arange(40) % 2 == 0, 25)
    whole = bootstrap_mean(right, [f"i{q // 25}" for q in range(1000)])
    single = bootstrap_mean(right, [f"i{q}" for q in range(1000)])
    assert whole is not None
    assert single is not None
    assert whole.high - whole.low == pytest.approx(2 * 1.96 * 0.5 / 40**0.5, rel=0.1)
    assert single.high - single.low == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.1)


def test_pairing_removes_what_both_share() -> None:
    images, runs = _questions(4, 80)
    same = bootstrap_difference(runs, runs, images)
    assert same is not None
    assert (same.low, same.high) == (0.0, 0.0)
    better = runs.copy()
    better[:, ::7] = True
    gain = bootstrap_difference(better, runs, images)
    alone = bootstrap_mean(better, images)
    assert gain is not None
    assert alone is not None
    assert gain.low > 0
    assert gain.high - gain.low < alone.high - alone.low


def test_bootstrap_does_not_depend_on_the_order_of_lines_and_is_seeded() -> None:
    images, runs = _questions(5, 25)
    order = np.random.default_rng(0).permutation(len(images))
    mixed = bootstrap_mean(runs[:, order], [images[q] for q in order])
    assert mixed == bootstrap_mean(runs, images)
    assert mixed != bootstrap_mean(runs, images, seed=1)


def test_few_images_give_no_interval() -> None:
    few = [f"i{q % (LEAST_IMAGES - 1)}" for q in range(100)]
    enough = [f"i{q % LEAST_IMAGES}" for q in range(100)]
    right = [q % 3 == 0 for q in range(100)]
    assert bootstrap_mean(right, few) is None
    assert bootstrap_mean(right, enough) is not None


def test_bootstrap_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        bootstrap_mean([[True, False]], ["a", "b", "c"])
