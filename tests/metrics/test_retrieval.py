"""Retrieval against loops, with ties, and classification by prompts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amif_lightning.metrics import retrieval as module
from amif_lightning.metrics.retrieval import relevant_studies, retrieval, zero_shot

KS = (1, 3, 5)


def split(count: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, targets and finding vectors; rounded, so that similarities tie."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(count, 3, generator=generator).round()
    targets = (queries + 0.5 * torch.randn(count, 3, generator=generator)).round()
    return queries, targets, torch.randint(0, 6, (count,), generator=generator)


def slow(queries: Tensor, targets: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    count = len(queries)
    precision, recall = (torch.zeros(len(KS), count, dtype=torch.double) for _ in range(2))
    for row, k in enumerate(KS):
        for i in range(count):
            similarity = [float(queries[i] @ targets[j]) for j in range(count)]
            nearest = sorted(range(count), key=lambda j: (-similarity[j], j))[:k]
            relevant = sum(bool(relevance[j] == relevance[i]) for j in nearest)
            precision[row, i] = relevant / len(nearest)
            recall[row, i] = i in nearest
    return precision, recall


@pytest.mark.parametrize("rows", [7, 512])
def test_scores_are_those_of_plain_loops(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", rows)  # a split is searched in pieces
    given = split()
    found, expected = retrieval(*given, KS), slow(*given)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert 0 < float(found[1][0].mean()) < float(found[1][2].mean()) < 1


def test_more_neighbours_than_studies_count_what_there_is() -> None:
    features = torch.eye(4)
    precision, recall = retrieval(features, features, torch.tensor([0, 0, 1, 1]), [1, 100])
    assert precision.mean(1).tolist() == [1.0, 0.5]
    assert recall.mean(1).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("ks", [[], [0], [5, -1]])
def test_a_number_below_one_is_an_error(ks: list[int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        retrieval(*split(), ks)


def test_relevant_studies_are_counted_with_the_study_itself() -> None:
    assert relevant_studies(torch.tensor([9, 4, 9, 9, 2])).tolist() == [3, 1, 3, 3, 1]


def test_an_image_is_right_where_its_nearest_class_is_one_of_its_own() -> None:
    images = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    prompts = torch.eye(2)
    member = torch.tensor([[True, False], [True, True], [True, False]])
    assert zero_shot(images, prompts, member).tolist() == [True, True, False]
