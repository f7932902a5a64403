"""The divergence from the teacher over a split, against loops and the loss of one batch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from amif_lightning.losses.alignment import alignment_loss, same_sample, soft_labels
from amif_lightning.metrics import teacher_agreement
from amif_lightning.metrics.study_features import SplitFeatures
from amif_lightning.metrics.teacher_agreement import teacher_divergence

TEMPERATURE, SCALE, WEIGHT = 0.2, 1.5, 0.3


def features(count: int = 9, teacher: bool = True) -> SplitFeatures:
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
        teacher_image=taught[0] if teacher else None,
        teacher_text=taught[1] if teacher else None,
    )


def slow(f: SplitFeatures) -> float:
    assert f.teacher_image is not None
    assert f.teacher_text is not None
    count, total = len(f), 0.0
    for u, v, a, b in (
        (f.image, f.text, f.teacher_image, f.teacher_text),
        (f.text, f.image, f.teacher_text, f.teacher_image),
    ):
        for i in range(count):
            same = [i == j or bool(f.text_id[i] == f.text_id[j]) for j in range(count)]
            taught = [math.exp(SCALE) * float(a[i] @ b[j]) + WEIGHT * same[j] for j in range(count)]
            said = [float(u[i] @ v[j]) / TEMPERATURE for j in range(count)]
            q = [math.exp(x) / sum(map(math.exp, taught)) for x in taught]
            p = [math.exp(x) / sum(map(math.exp, said)) for x in said]
            total += sum(y * math.log(y / x) for x, y in zip(p, q, strict=True))
    return total / (2 * count)


@pytest.mark.parametrize("rows", [4, 512])
def test_it_is_the_sum_of_plain_loops(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_agreement, "ROWS", rows)
    f = features()
    assert teacher_divergence(f, TEMPERATURE, SCALE, WEIGHT) == pytest.approx(slow(f), rel=1e-6)


def test_it_is_the_loss_with_soft_labels_of_a_batch_that_is_the_split() -> None:
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


def test_a_model_that_says_what_the_teacher_says_does_not_diverge() -> None:
    f = features()
    same = SplitFeatures(**{**vars(f), "image": f.teacher_image, "text": f.teacher_text})
    assert teacher_divergence(same, math.exp(-SCALE), SCALE, 0.0) == pytest.approx(0.0, abs=1e-9)


def test_without_a_teacher_there_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="no teacher"):
        teacher_divergence(features(teacher=False), TEMPERATURE, SCALE)
