"""Rows of a split: each once, in order, for any batches."""

from __future__ import annotations

import torch
from torch import Tensor

from amif_lightning.metrics.gathered import GatheredRows, StudyFeatures


def test_one_row_and_none_keep_their_shapes() -> None:
    rows = GatheredRows(["shares"])
    rows.update(position=torch.zeros(0, dtype=torch.long), shares=torch.zeros(0, 1))
    assert len(rows.compute()) == 0
    rows.update(position=torch.tensor([7]), shares=torch.tensor([[0.25]]))
    found = rows.compute()
    assert found["position"].shape == (1,)
    assert found["shares"].shape == (1, 1)


def features(count: int = 20) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "position": torch.arange(count),
        "image": torch.randn(count, 3, generator=generator),
        "text": torch.randn(count, 3, generator=generator),
        "relevance": torch.arange(count) % 5,
        "study": torch.arange(count) + 2**61,  # no float could keep it
        "text_id": torch.arange(count) % 7,
        "teacher_image": torch.randn(count, 2, generator=generator),
        "teacher_text": torch.randn(count, 2, generator=generator),
    }


def test_neither_order_nor_repetition_changes_what_is_kept() -> None:
    given = features()
    metric = StudyFeatures(teacher=True)
    generator = torch.Generator().manual_seed(1)
    order = torch.cat([torch.randperm(20, generator=generator), torch.tensor([3, 0, 3])])
    for rows in order.split(6):
        metric.update(**{name: values[rows] for name, values in given.items()})
    found = metric.compute()
    assert len(found) == 20
    for name, values in given.items():
        assert torch.equal(getattr(found, name), values), name


def test_features_are_kept_in_single_precision_without_a_graph_and_without_a_teacher() -> None:
    given = features()
    given["image"] = given["image"].bfloat16().requires_grad_()
    metric = StudyFeatures()
    metric.update(**given)
    found = metric.compute()
    assert found.image.dtype == torch.float32
    assert not found.image.requires_grad
    assert found.teacher_image is None
