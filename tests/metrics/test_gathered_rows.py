"""Rows of a split: each once, in order, whatever the batches were."""

from __future__ import annotations

import torch

from amif_lightning.metrics.gathered_rows import GatheredRows


def test_rows_are_sorted_and_repeated_ones_kept_once() -> None:
    rows = GatheredRows(["value", "shares"])
    rows.update(
        position=torch.tensor([4, 0]),
        value=torch.tensor([4.0, 0.5]),
        shares=torch.tensor([[4.0, 1.0], [0.0, 1.0]]),
    )
    rows.update(
        position=torch.tensor([2, 4]),
        value=torch.tensor([2.0, 4.0]),
        shares=torch.tensor([[2.0, 1.0], [4.0, 1.0]]),
    )
    found = rows.compute()
    assert len(found) == 3
    assert found["position"].tolist() == [0, 2, 4]
    assert found["value"].tolist() == [0.5, 2.0, 4.0]
    assert found["shares"].tolist() == [[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]


def test_one_row_and_none_keep_their_shapes() -> None:
    rows = GatheredRows(["shares"])
    rows.update(position=torch.zeros(0, dtype=torch.long), shares=torch.zeros(0, 1))
    assert len(rows.compute()) == 0
    rows.update(position=torch.tensor([7]), shares=torch.tensor([[0.25]]))
    found = rows.compute()
    assert found["position"].shape == (1,)
    assert found["shares"].shape == (1, 1)


def test_a_reset_forgets() -> None:
    rows = GatheredRows(["value"])
    rows.update(position=torch.tensor([1]), value=torch.tensor([1.0]))
    rows.reset()
    rows.update(position=torch.tensor([3]), value=torch.tensor([3.0]))
    assert rows.compute()["position"].tolist() == [3]
