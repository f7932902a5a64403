"""The pointer loss against its formula in loops, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from amif_lightning.losses.knowledge import log_mass, pointer_loss

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


def test_a_single_entry_is_always_right() -> None:
    one = torch.zeros(2, 1)
    assert float(pointer_loss(one, torch.tensor([[True], [False]]))[0]) == 0
