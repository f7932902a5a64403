"""The fixed negatives of a split."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from amif_lightning.data.loading.pretrain_module import hard_negatives, random_negatives

GROUPS = ["a", "a", "b", "c", "b", "d"]


def test_random_ones_are_of_another_group_and_always_the_same() -> None:
    found = random_negatives(GROUPS, "test/0")
    assert all(GROUPS[own] != GROUPS[other] for own, other in enumerate(found))
    assert random_negatives(GROUPS, "test/0") == found
    assert random_negatives(GROUPS, "test/1") != found


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_precision_of_the_trainer_moves_no_draw(dtype: torch.dtype) -> None:
    """Lightning's true precisions set the default type while a step runs."""
    groups = [str(number) for number in range(40)]
    features = torch.eye(40)  # every pair ties
    drawn = random_negatives(groups, "x"), hard_negatives(features, groups, "x")
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert (random_negatives(groups, "x"), hard_negatives(features, groups, "x")) == drawn
    finally:
        torch.set_default_dtype(before)


def test_random_ones_are_drawn_evenly() -> None:
    counts = Counter(random_negatives(GROUPS, str(seed))[2] for seed in range(2000))
    assert set(counts) == {0, 1, 3, 5}
    assert all(abs(count - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5 for count in counts.values())


def test_a_group_alone_has_no_negative() -> None:
    assert random_negatives(["a", "a"], "x") == (-1, -1)
    assert hard_negatives(torch.eye(2), ["a", "a"], "x") == (-1, -1)
    assert random_negatives(["a"], "x") == (-1,)


def test_hard_ones_are_the_nearest_of_another_group() -> None:
    features = F.normalize(
        torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [0.1, 1.0], [-1.0, 0.0]]),
        dim=1,
    )
    found = hard_negatives(features, GROUPS, "x")
    for own, other in enumerate(found):
        allowed = [k for k in range(6) if GROUPS[k] != GROUPS[own]]
        best = max(allowed, key=lambda k: float(features[own] @ features[k]))
        assert other == best


def test_equal_features_of_another_group_are_none() -> None:
    features = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    assert hard_negatives(features, ["a", "b", "c"], "x")[:2] == (2, 2)


def test_ties_are_broken_by_the_seed() -> None:
    features = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), dim=1)
    groups = ["a", "b", "c", "d"]
    found = {hard_negatives(features, groups, str(seed))[0] for seed in range(60)}
    assert found == {1, 2, 3}
    assert hard_negatives(features, groups, "0") == hard_negatives(features, groups, "0")
