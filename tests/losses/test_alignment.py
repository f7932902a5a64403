"""The global alignment losses against double loops over their equations, and at their limits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.alignment import (
    PAIRS,
    GlobalAlignment,
    Labels,
    Pair,
    Sides,
    UnifiedAlignment,
    alignment_loss,
    hard_labels,
    same_sample,
    soft_labels,
)

SCALE = 3.0  # natural logarithm, near CLIP's


def unit(rows: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.double), dim=1)


def identities() -> tuple[Tensor, Tensor]:
    """Six samples: 0 and 3 are one study, 1 and 4 have one text."""
    return torch.tensor([7, 8, 9, 7, 10, 11]), torch.tensor([1, 2, 3, 4, 2, 5])


def slow_softmax(row: list[float]) -> list[float]:
    top = max(row)
    weights = [math.exp(value - top) for value in row]
    return [weight / sum(weights) for weight in weights]


def slow_soft_labels(u: Tensor, v: Tensor, same: list[list[bool]], weight: float) -> Tensor:
    rows = []
    for i in range(len(u)):
        row = []
        for j in range(len(v)):
            cosine = sum(float(a) * float(b) for a, b in zip(u[i], v[j], strict=True))
            row.append(math.exp(SCALE) * cosine + weight * same[i][j])
        rows.append(slow_softmax(row))
    return torch.tensor(rows, dtype=torch.double)


def slow_loss(u: Tensor, v: Tensor, tau: float, q: Tensor, q_back: Tensor) -> float:
    total, size = 0.0, len(u)
    for first, second, labels in ((u, v, q), (v, u, q_back)):
        for i in range(size):
            cosines = [float(first[i] @ second[j]) / tau for j in range(size)]
            chances = slow_softmax(cosines)
            for j in range(size):
                target = float(labels[i, j])
                if target:
                    total += target * (math.log(target) - math.log(chances[j]))
    return total / (2 * size)


def test_samples_are_the_same_by_study_or_by_text() -> None:
    study, text = identities()
    expected = [[study[i] == study[j] or text[i] == text[j] for j in range(6)] for i in range(6)]
    same = same_sample(study, text)
    assert same.tolist() == [[bool(value) for value in row] for row in expected]
    assert int(same.sum()) == 10  # the diagonal and two pairs, each twice


@pytest.mark.parametrize("weight", [0.01, 2.0])
def test_soft_labels_follow_their_equation(weight: float) -> None:
    u, v = unit(6, 5, 0), unit(6, 5, 1)
    same = same_sample(*identities())
    slow = slow_soft_labels(u, v, same.tolist(), weight)
    torch.testing.assert_close(soft_labels(u, v, SCALE, same, weight), slow)


@pytest.mark.parametrize("scale", [100.0, math.inf, math.nan])
def test_a_factor_in_place_of_its_logarithm_is_refused(scale: float) -> None:
    same = torch.eye(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="natural logarithm"):
        soft_labels(unit(3, 5, 0), unit(3, 5, 1), scale, same)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_labels_follow_their_equation(smoothing: float) -> None:
    same = same_sample(*identities())
    slow = torch.zeros(6, 6)
    for i in range(6):
        alike = sum(bool(same[i, k]) for k in range(6))
        for j in range(6):
            slow[i, j] = (1 - smoothing) * bool(same[i, j]) / alike + smoothing / 6
    labels = hard_labels(same, smoothing)
    torch.testing.assert_close(labels, slow)
    torch.testing.assert_close(labels.sum(1), torch.ones(6))


def test_the_loss_follows_its_equation() -> None:
    u, v, s, t = unit(6, 5, 0), unit(6, 5, 1), unit(6, 4, 2), unit(6, 4, 3)
    same = same_sample(*identities())
    labels = soft_labels(s, t, SCALE, same), soft_labels(t, s, SCALE, same)
    module = GlobalAlignment(0.2).double()
    loss, logits = module(u, v, *labels)
    tau = float(module.temperature.detach())  # 0.2 to single precision
    assert float(loss.detach()) == pytest.approx(slow_loss(u, v, tau, *labels), rel=1e-9)
    torch.testing.assert_close(logits, u @ v.T / tau)


def test_one_hot_labels_give_infonce() -> None:
    u, v = unit(6, 5, 0), unit(6, 5, 1)
    labels = hard_labels(torch.eye(6, dtype=torch.bool), smoothing=0.0)
    logits = u @ v.T / 0.07
    right = torch.arange(6)
    infonce = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    torch.testing.assert_close(alignment_loss(logits, labels, labels), infonce)


def test_a_student_that_agrees_with_its_teacher_has_no_loss() -> None:
    u, v = unit(6, 5, 0), unit(6, 5, 1)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    labels = soft_labels(u, v, SCALE, nothing), soft_labels(v, u, SCALE, nothing)
    loss, _ = GlobalAlignment(math.exp(-SCALE)).double()(u, v, *labels)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-9)


def test_the_order_of_the_batch_does_not_matter() -> None:
    u, v, s, t = unit(6, 5, 0), unit(6, 5, 1), unit(6, 4, 2), unit(6, 4, 3)
    study, text = identities()
    module = GlobalAlignment().double()

    def loss(order: Tensor) -> Tensor:
        same = same_sample(study[order], text[order])
        labels = (
            soft_labels(s[order], t[order], SCALE, same),
            soft_labels(t[order], s[order], SCALE, same),
        )
        value: Tensor = module(u[order], v[order], *labels)[0]
        return value

    torch.testing.assert_close(loss(torch.arange(6)), loss(torch.tensor([4, 2, 0, 5, 1, 3])))


def test_gradients_are_right() -> None:
    labels = soft_labels(unit(4, 3, 2), unit(4, 3, 3), SCALE, torch.eye(4, dtype=torch.bool))
    module = GlobalAlignment(0.3).double()

    def loss(u: Tensor, v: Tensor, log_temperature: Tensor) -> Tensor:
        logits = u @ v.T / log_temperature.exp()
        return alignment_loss(logits, labels, labels.T)

    u, v = unit(4, 3, 0).requires_grad_(), unit(4, 3, 1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (u, v, module.log_temperature))
    module(u, v, labels, labels.T)[0].backward()
    assert module.log_temperature.grad is not None
    direct = torch.autograd.grad(loss(u, v, module.log_temperature), module.log_temperature)[0]
    torch.testing.assert_close(module.log_temperature.grad, direct)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_is_computed_in_single_precision_under_autocast(dtype: torch.dtype) -> None:
    same = same_sample(*identities())
    u, v, s, t = (unit(6, 5, seed).to(dtype) for seed in range(4))
    module = GlobalAlignment(0.01)

    def loss(u: Tensor, v: Tensor) -> Tensor:
        labels = soft_labels(s, t, 4.6, same), soft_labels(t, s, 4.6, same)
        value: Tensor = module(u, v, *labels)[0]
        return value

    precise = u.float().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = loss(u.requires_grad_(), v)
    plain = loss(precise, v.float())
    # Outside, as trainers do: a backward pass inside would be computed in half precision again.
    slope, plain_slope = torch.autograd.grad(value, u)[0], torch.autograd.grad(plain, precise)[0]
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, plain, rtol=0, atol=0)
    assert slope.dtype == dtype
    torch.testing.assert_close(slope, plain_slope.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_logits_keep_value_and_gradient_finite(
    dtype: torch.dtype, smoothing: float
) -> None:
    logits = torch.full((4, 4), -3e4)
    logits[0, 1] = 3e4  # every chance but one underflows
    logits = logits.to(dtype).requires_grad_()
    labels = hard_labels(torch.eye(4, dtype=torch.bool), smoothing)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
        loss = alignment_loss(logits, labels, labels)
    loss.backward()
    # Row 0 and column 1 are wrong by 6e4 on all labels but one; the others are even.
    wrong = (1 - smoothing / 4) * 6e4
    assert float(loss.detach()) == pytest.approx(2 * wrong / 8, rel=1e-2)
    assert logits.grad is not None
    expected = (torch.eye(4)[1] - labels[0]) / 8  # of row 0, whose chances are one and zeros
    expected += (logits.detach().float().softmax(0)[0] - labels[:, 0]) / 8
    torch.testing.assert_close(logits.grad[0].float(), expected, rtol=0, atol=1e-2)
    assert bool(logits.grad.isfinite().all())


def test_the_temperature_returns_into_its_range_and_still_learns() -> None:
    module = GlobalAlignment()
    assert float(module.temperature.detach()) == pytest.approx(0.07)
    for beyond, limit in ((-9.0, 0.01), (3.0, 1.0)):
        module.log_temperature.data.fill_(beyond)
        module.clamp_()
        assert float(module.temperature.detach()) == pytest.approx(limit)
        labels = hard_labels(torch.eye(6, dtype=torch.bool))
        module.zero_grad()
        module(unit(6, 5, 0).float(), unit(6, 5, 1).float(), labels, labels)[0].backward()
        assert module.log_temperature.grad is not None
        assert float(module.log_temperature.grad) != 0.0


def student() -> Sides:
    return Sides(*(unit(5, 6, seed).float() for seed in range(4)))


def teacher() -> Sides:
    return Sides(*(unit(5, 4, seed).float() for seed in range(10, 13)))


def same() -> Tensor:
    equal = torch.eye(5, dtype=torch.bool)
    equal[0, 2] = equal[2, 0] = True
    return equal


def test_each_pair_compares_its_own_sides_with_its_own_labels() -> None:
    s, t = student(), teacher()
    losses = UnifiedAlignment(same_weight=0.5)(s, same(), t, SCALE).losses
    assert tuple(losses) == PAIRS
    assert s.text_again is not None
    for pair, (u, v), (a, b) in (
        ("image_text", (s.first, s.text), (t.first, t.text)),
        ("view_view", (s.first, s.second), (t.first, t.second)),
        ("text_text", (s.text, s.text_again), (t.text, t.text)),
    ):
        labels = soft_labels(a, b, SCALE, same(), 0.5), soft_labels(b, a, SCALE, same(), 0.5)
        torch.testing.assert_close(losses[pair], alignment_loss(u @ v.T / 0.07, *labels))


def test_hard_labels_need_no_teacher() -> None:
    s = student()
    losses = UnifiedAlignment("hard", smoothing=0.2)(s, same(), None).losses
    labels = hard_labels(same(), 0.2)
    torch.testing.assert_close(
        losses["image_text"], alignment_loss(s.first @ s.text.T / 0.07, labels, labels)
    )
    with pytest.raises(ValueError, match="soft labels need a teacher"):
        UnifiedAlignment()(s, same(), None)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_what_the_draw_needs_is_that_of_image_and_text(kind: Labels) -> None:
    s, t = student(), teacher()
    vectors = Sides(s.first.requires_grad_(), s.second, s.text.requires_grad_())
    aligned = UnifiedAlignment(kind, same_weight=0.5)(vectors, same(), t, SCALE)
    assert aligned.logits is not None
    assert aligned.labels is not None
    assert not aligned.logits.requires_grad
    torch.testing.assert_close(aligned.logits, s.first.detach() @ s.text.detach().T / 0.07)
    soft = (
        soft_labels(t.first, t.text, SCALE, same(), 0.5),
        soft_labels(t.text, t.first, SCALE, same(), 0.5),
    )
    expected = soft if kind == "soft" else (hard_labels(same(), 0.1),) * 2
    for found, labels in zip(aligned.labels, expected, strict=True):
        torch.testing.assert_close(found, labels)


@pytest.mark.parametrize("left_out", PAIRS)
def test_a_pair_without_weight_is_left_out(left_out: Pair) -> None:
    module = UnifiedAlignment("hard", **{left_out: 0.0})
    aligned = module(student(), same(), None)
    assert set(aligned.losses) == set(PAIRS) - {left_out}
    assert (aligned.logits is None) == (aligned.labels is None) == (left_out == "image_text")
    # Nor does it keep a temperature that no loss would ever move.
    assert not [name for name, _ in module.named_parameters() if left_out in name]


def test_every_pair_has_a_temperature_of_its_own() -> None:
    module = UnifiedAlignment("hard")
    torch.stack(list(module(student(), same(), None).losses.values())).sum().backward()
    slopes = [parameter.grad for parameter in module.parameters()]
    assert len(slopes) == 3
    assert len({float(slope) for slope in slopes if slope is not None}) == 3
    for parameter in module.parameters():
        parameter.data.fill_(5.0)
    module.clamp_()
    assert all(float(parameter.detach()) == 0.0 for parameter in module.parameters())
