"""Likelihood of answers and the pointer loss: slow loops, closed forms, limits and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from amif_lightning.losses.answering import log_mass, pointer_loss
from amif_lightning.losses.answering import sequence_log_likelihood as packed


def slow(logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float = 0.0) -> Tensor:
    result = []
    for scores, ids, valid in zip(logits.double(), targets, mask, strict=True):
        total = 0.0
        for t in range(len(ids)):
            if valid[t]:
                log_p = [float(s - scores[t].exp().sum().log()) for s in scores[t]]
                total += (1 - smoothing) * log_p[int(ids[t])]
                total += smoothing * sum(log_p) / len(log_p)
        result.append(total)
    return torch.tensor(result)


def sequence_log_likelihood(
    logits: Tensor, targets: Tensor, mask: Tensor, smoothing: float = 0.0
) -> Tensor:
    return packed(logits[mask], targets, mask, smoothing)


@pytest.fixture
def sample() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 5, 7, generator=generator)
    targets = torch.randint(7, (4, 5), generator=generator)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [4]])
    return logits, targets, mask


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_the_slow_double_loop(
    sample: tuple[Tensor, Tensor, Tensor], smoothing: float
) -> None:
    expected = slow(*sample, smoothing)
    torch.testing.assert_close(sequence_log_likelihood(*sample, smoothing), expected)


def test_uniform_scores_cost_log_v_per_token() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    value = sequence_log_likelihood(
        torch.zeros(2, 3, 11), torch.zeros(2, 3, dtype=torch.long), mask
    )
    torch.testing.assert_close(value, torch.tensor([-3.0, -1.0]) * math.log(11))


def test_every_token_counts_once(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, targets, mask = sample
    log_p = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    once = (log_p * mask).sum(1)
    twice = once + log_p[:, 0]  # the wrong version: the first token is counted again
    value = sequence_log_likelihood(logits, targets, mask)
    torch.testing.assert_close(value, once)
    assert (value - twice).abs().min() > 0.1


def test_what_the_mask_hides_changes_nothing(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, targets, mask = sample
    changed = targets.where(mask, 6)
    value = sequence_log_likelihood(logits, changed, mask)
    torch.testing.assert_close(value, sequence_log_likelihood(logits, targets, mask))


def test_extreme_scores_stay_finite_and_at_most_zero() -> None:
    logits = torch.tensor([[[1e4, -1e4, 0.0]], [[-1e30, 1e30, 0.0]]])
    mask = torch.ones(2, 1, dtype=torch.bool)
    value = sequence_log_likelihood(logits, torch.tensor([[0], [0]]), mask)
    assert value[0] == 0.0
    assert value[1] == -2e30


def test_gradient_is_right(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, targets, mask = sample
    wide = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: sequence_log_likelihood(x, targets, mask, 0.1), (wide,)
    )


def test_half_precision_is_summed_in_float32(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, targets, mask = sample
    low = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = sequence_log_likelihood(low, targets, mask)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, slow(low.float(), targets, mask))


B, N = 4, 6


def entries(*chosen: tuple[int, ...]) -> Tensor:
    found = torch.zeros(len(chosen), N, dtype=torch.bool)
    for row, places in enumerate(chosen):
        found[row, list(places)] = True
    return found


def logits(seed: int = 0) -> Tensor:
    return torch.randn(B, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_formula() -> None:
    attention, chosen = logits().softmax(1), ((0,), (1, 2), (), (0, 3, 5))
    total, count = pointer_loss(attention.log(), entries(*chosen))
    expected = [
        -math.log(sum(float(attention[row, n]) for n in places))
        for row, places in enumerate(chosen)
        if places
    ]
    assert float(total) == pytest.approx(sum(expected), rel=1e-12)
    assert float(count) == 3


@pytest.mark.parametrize("place", range(N))
def test_one_hot_attention_on_the_answer_costs_nothing(place: int) -> None:
    attention = torch.full((1, N), -torch.inf).index_fill(1, torch.tensor([place]), 0.0)
    assert float(pointer_loss(attention, entries((place,)))[0]) == 0
    assert float(pointer_loss(attention, entries((place, (place + 1) % N)))[0]) == 0


def test_even_attention_over_one_answer_costs_log_n() -> None:
    even = torch.full((1, N), 1 / N, dtype=torch.float64).log()
    assert float(pointer_loss(even, entries((3,)))[0]) == pytest.approx(math.log(N))
    assert float(pointer_loss(even, entries((3, 4)))[0]) == pytest.approx(math.log(N / 2))


def test_no_gradient_into_other_samples() -> None:
    given = logits().requires_grad_()
    chosen = entries((0,), (), (1, 2), (3,))
    for row in range(B):
        (gradient,) = torch.autograd.grad(log_mass(given.log_softmax(1), chosen)[row], given)
        others = [k for k in range(B) if k != row]
        assert not gradient[others].any()
        assert bool(gradient[row].any()) == bool(chosen[row].any())


def test_an_answer_without_an_entry_counts_nothing_and_has_no_gradient() -> None:
    given = logits().requires_grad_()
    total, count = pointer_loss(given.log_softmax(1), entries((), (), (), ()))
    assert float(total.detach()) == 0
    assert float(count) == 0
    total.backward()
    assert given.grad is not None
    assert not given.grad.any()  # and no NaN


def test_gradients_are_those_of_finite_differences() -> None:
    chosen = entries((0,), (1, 2), (), (0, 3, 5))
    assert torch.autograd.gradcheck(
        lambda x: pointer_loss(x.log_softmax(1), chosen)[0], logits(1).requires_grad_()
    )


def test_hopeless_attention_stays_finite() -> None:
    given = torch.tensor([[0.0, -1e4, -1e4, -1e4, -1e4, -1e4]], requires_grad=True)
    total, _ = pointer_loss(given.log_softmax(1), entries((1,)))
    total.backward()
    assert math.isfinite(float(total.detach()))
    assert given.grad is not None
    assert given.grad.isfinite().all()
    assert float(given.grad.abs().sum()) > 0.5  # a weight of 0 still learns
