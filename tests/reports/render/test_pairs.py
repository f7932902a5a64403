from __future__ import annotations

from fractions import Fraction

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.statistics import Interval
from amif_lightning.reports.render.comparisons import (
    check_baselines,
    pairs_of,
    sentence,
    without_baseline,
)


def test_pairs() -> None:
    names = ["a", "b", "c"]
    assert pairs_of(names, names) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs_of(names, names, ["b"]) == [("a", "b"), ("c", "b")]
    assert pairs_of(names, names, ["d"]) == []
    # Two baselines are compared once.
    assert pairs_of(names, names, ["b", "c"]) == [("a", "b"), ("c", "b"), ("a", "c")]
    # The baseline under two protocols is two groups, but not its own rival.
    assert pairs_of([1, 2, 3], ["b", "b", "c"], ["b"]) == [(3, 1), (3, 2)]


def test_an_unknown_baseline_names_what_there_is() -> None:
    check_baselines([], ["x"])
    check_baselines(["x"], ["y", "x"])
    with pytest.raises(UserError, match=r"--baseline z: no record belongs .* one of x, y"):
        check_baselines(["x", "z"], ["y", "x", "y"])


def test_data_that_the_baseline_did_not_score() -> None:
    data = [("A", "test", "x"), ("A", "test", "y"), ("B", "test", "y"), ("A", "validation", "y")]
    assert without_baseline(data, []) == []
    found = without_baseline(data, ["x"])
    assert [text.split(" on ")[1].split(",")[0] for text in found] == ["B test", "A validation"]


@pytest.mark.parametrize(
    ("low", "high", "seeds", "words"),
    [
        (0.01, 0.05, (3, 3), "a: 3.0 points of x above b (95 % interval +1.0 to +5.0, which excl"),
        (0.01, 0.05, (7, -1), "above b, BUT NOT IN EVERY SEED (95 % interval"),
        (0.01, 0.05, (6, 0), "above b, BUT NOT IN EVERY SEED (95 % interval"),
        (-0.01, 0.07, (3, 3), "a: no evidence of a difference from b: +3.0 points of x (95 %"),
        (0.0, 0.06, (3, 3), "+6.0, which includes 0; seed 0: +3.0, seed 1: +3.0)."),
        (-0.05, -0.01, (-3, -3), "a: 3.0 points of x BELOW b (95 % interval -5.0 to -1.0, which"),
        (-0.05, -0.01, (-7, 1), "BELOW b, BUT NOT IN EVERY SEED"),
    ],
)
def test_the_sentence_follows_the_interval(
    low: float, high: float, seeds: tuple[int, int], words: str
) -> None:
    by_seed = {seed: Fraction(points, 100) for seed, points in enumerate(seeds)}
    value = sum(by_seed.values(), Fraction(0)) / 2
    text = sentence("D", "a", "b", "x", value, Interval(low, high), by_seed, baseline=False)
    assert words in text
    assert text.startswith("D, a: ")


def test_without_an_interval_nothing_is_claimed() -> None:
    text = sentence("D", "a", "b", "x", Fraction(1, 10), None, {}, baseline=True)
    assert text == (
        "D, a: whether it differs from the baseline b is not shown: +10.0 points of x, and too "
        "little was scored for an interval (no equal seeds)."
    )
