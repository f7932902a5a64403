"""An epoch of several parts: every sample as often as its weight demands, in fair order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from amif_lightning.data.loading.mixture import Mixed, check_weights
from amif_lightning.errors import UserError


class Echo(Dataset[tuple[int, int]]):
    """Gives back what it is asked for."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key


def epochs(data: Mixed[tuple[int, int]], count: int) -> list[list[tuple[int, int]]]:
    return [[data[epoch, i] for i in range(len(data))] for epoch in range(count)]


def test_weight_one_shows_every_sample_once_an_epoch() -> None:
    for epoch, shown in enumerate(epochs(Mixed(Echo(), [5, 3]), 3)):
        assert sorted(index for _, index in shown) == list(range(8))
        assert {turn for turn, _ in shown} == {epoch}


@pytest.mark.parametrize("weights", [(0.5, 2.0), (0.3, 1.0), (1.7, 0.25)])
def test_no_sample_is_shown_again_before_all_others_of_its_part(
    weights: tuple[float, float],
) -> None:
    sizes = (10, 4)
    data = Mixed(Echo(), sizes, weights, seed=3)
    assert len(data) == round(weights[0] * 10) + round(weights[1] * 4)
    rows = [key for shown in epochs(data, 12) for key in shown]
    for low, size in ((0, 10), (10, 4)):
        mine = [(turn, index) for turn, index in rows if low <= index < low + size]
        assert len(set(mine)) == len(mine)  # a pass shows a sample once
        counts = Counter(index for _, index in mine)
        assert max(counts.values()) - min(counts[i] for i in range(low, low + size)) <= 1
        # Passes follow one another: whatever comes first in a list of epochs has the lower number.
        assert [turn for turn, _ in mine] == sorted(turn for turn, _ in mine)


def test_half_an_epoch_shows_the_other_half_next() -> None:
    first, second = epochs(Mixed(Echo(), [10], [0.5]), 2)
    assert {i for _, i in first} | {i for _, i in second} == set(range(10))
    assert not {i for _, i in first} & {i for _, i in second}


def test_the_order_depends_on_seed_and_pass_and_nothing_else() -> None:
    data = Mixed(Echo(), [50, 50], seed=1)
    forward = epochs(data, 2)
    again = Mixed(Echo(), [50, 50], seed=1)
    backward = [[again[e, i] for i in reversed(range(100))][::-1] for e in (1, 0)][::-1]
    assert forward == backward
    assert epochs(Mixed(Echo(), [50, 50], seed=2), 1)[0] != forward[0]
    first, second = ([index for _, index in shown] for shown in forward)
    assert first != second
    assert [i + 50 for i in first[:50]] != first[50:]  # parts of one size have orders of their own


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([], None, "parts is empty"),
        ([3, 4], [1.0], "1 numbers for 2 parts"),
        ([3, 4], [1.0, 0.0], "holds 0.0"),
        ([3, 4], [1.0, float("nan")], "holds nan"),
        ([3, 4], [1.0, float("inf")], "holds inf"),
        ([3, 4], [1.0, 0.1], "Part 1 of the mixture has 4 samples"),
        ([3, 0], None, "Part 1 of the mixture has 0 samples"),
    ],
)
def test_parts_that_would_not_be_shown_are_refused(
    sizes: list[int], weights: list[float] | None, message: str
) -> None:
    def made() -> None:
        check_weights(len(sizes), weights)
        Mixed(Echo(), sizes, weights)

    with pytest.raises(UserError, match=message):
        made()


def test_the_passes_of_an_epoch_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled places meet all passes of an epoch in turn; drawing anew each time costs N^2."""
    drawn: list[int] = []
    real = torch.randperm

    def counted(size: int, **options: Any) -> torch.Tensor:
        drawn.append(size)
        return real(size, **options)

    monkeypatch.setattr(torch, "randperm", counted)
    data = Mixed(Echo(), [40], [2.5])
    for epoch in range(4):
        for place in range(len(data)):
            data[epoch, place * 37 % len(data)]
    assert len(drawn) <= 12  # 10 passes; one that two epochs share may be drawn twice
