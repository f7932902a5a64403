from __future__ import annotations

import random
from math import comb
from statistics import NormalDist

import numpy as np
import pytest

from amif_lightning.evaluation import Count
from amif_lightning.reports.analysis.statistics import (
    LEAST_CLUSTERS,
    bootstrap_difference,
    bootstrap_mean,
    mcnemar,
    mean_std,
    wilson,
)


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
    assert (test.first_only, test.second_only) == (b, c)
    assert test.p == pytest.approx(min(1.0, 2 * tail / 2 ** (b + c)), rel=1e-9)
    assert mcnemar(second, first).p == test.p


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
    few = [f"i{q % (LEAST_CLUSTERS - 1)}" for q in range(100)]
    enough = [f"i{q % LEAST_CLUSTERS}" for q in range(100)]
    right = [q % 3 == 0 for q in range(100)]
    assert bootstrap_mean(right, few) is None
    assert bootstrap_mean(right, enough) is not None


def test_bootstrap_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        bootstrap_mean([[True, False]], ["a", "b", "c"])
