"""Area under the curve against a loop over all pairs."""

from __future__ import annotations

import random

import pytest

from amif_lightning.metrics.auc import auc


@pytest.mark.parametrize("values", [3, 1000])
def test_all_pairs_are_compared_and_ties_count_half(values: int) -> None:
    draw = random.Random(values)
    own = [draw.randrange(values) / values + 0.1 for _ in range(40)]
    negative = [draw.randrange(values) / values for _ in range(23)]
    own[0] = negative[0]
    wins = sum((p > n) + 0.5 * (p == n) for p in own for n in negative)
    assert auc(own, negative) == pytest.approx(wins / (40 * 23))


def test_ends_and_chance() -> None:
    assert auc([2.0, 3.0], [1.0]) == 1.0
    assert auc([0.0], [1.0, 2.0]) == 0.0
    assert auc([1.0], [1.0]) == 0.5
