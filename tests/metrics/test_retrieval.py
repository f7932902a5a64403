"""Retrieval and the divergence from the teacher against loops, with ties; classes by prompts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.alignment import alignment_loss, same_sample, soft_labels
from amif_lightning.metrics import retrieval as module
from amif_lightning.metrics.gathered import SplitFeatures
from amif_lightning.metrics.retrieval import (
    relevant_studies,
    retrieval,
    teacher_divergence,
    zero_shot,
)

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


def test_relevant_studies_are_counted_with_the_study_itself() -> None:
    assert relevant_studies(torch.tensor([9, 4, 9, 9, 2])).tolist() == [3, 1, 3, 3, 1]


def test_an_image_is_right_where_its_nearest_class_is_one_of_its_own() -> None:
    images = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    prompts = torch.eye(2)
    member = torch.tensor([[True, False], [True, True], [True, False]])
    assert zero_shot(images, prompts, member).tolist() == [True, True, False]


TEMPERATURE, SCALE, WEIGHT = 0.2, 1.5, 0.3


def features(count: int = 9) -> SplitFeatures:
    generator = torch.Generator().manual_seed(0)
    image, text, *taught = (
        F.normalize(torch.randn(count, 4, generator=generator), dim=1) for _ in range(4)
    )
    return SplitFeatures(
        position=torch.arange(count),
        image=image,
        text=text,
        relevance=torch.arange(count),
        study=torch.arange(count),
        text_id=torch.tensor([0, 1, 2, 1, *range(4, count)]),
        teacher_image=taught[0],
        teacher_text=taught[1],
    )


def slow_divergence(f: SplitFeatures) -> float:
    assert f.teacher_image is not None
    assert f.teacher_text is not None
    count, total = len(f), 0.0
    for u, v, a, b in (
        (f.image, f.text, f.teacher_image, f.teacher_text),
        (f.text, f.image, f.teacher_text, f.teacher_image),
    ):
        for i in range(count):
            same = [i == j or bool(f.text_id[i] == f.text_id[j]) for j in range(count)]
            teacher = [
                math.exp(SCALE) * float(a[i] @ b[j]) + WEIGHT * same[j] for j in range(count)
            ]
            model = [float(u[i] @ v[j]) / TEMPERATURE for j in range(count)]
            q = [math.exp(x) / sum(map(math.exp, teacher)) for x in teacher]
            p = [math.exp(x) / sum(map(math.exp, model)) for x in model]
            total += sum(y * math.log(y / x) for x, y in zip(p, q, strict=True))
    return total / (2 * count)


@pytest.mark.parametrize("rows", [4, 512])
def test_the_divergence_is_the_sum_of_plain_loops(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    f = features()
    assert teacher_divergence(f, TEMPERATURE, SCALE, WEIGHT) == pytest.approx(
        slow_divergence(f), rel=1e-6
    )


def test_the_divergence_is_the_loss_with_soft_labels_of_a_batch_that_is_the_split() -> None:
    f = features()
    assert f.teacher_image is not None
    assert f.teacher_text is not None
    same = same_sample(f.study, f.text_id)
    loss = alignment_loss(
        f.image @ f.text.T / TEMPERATURE,
        soft_labels(f.teacher_image, f.teacher_text, SCALE, same, WEIGHT),
        soft_labels(f.teacher_text, f.teacher_image, SCALE, same, WEIGHT),
    )
    assert teacher_divergence(f, TEMPERATURE, SCALE, WEIGHT) == pytest.approx(float(loss), rel=1e-5)


def test_a_model_equal_to_its_teacher_does_not_diverge() -> None:
    f = features()
    same = SplitFeatures(**{**vars(f), "image": f.teacher_image, "text": f.teacher_text})
    assert teacher_divergence(same, math.exp(-SCALE), SCALE, 0.0) == pytest.approx(0.0, abs=1e-9)
