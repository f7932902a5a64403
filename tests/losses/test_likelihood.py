"""Likelihood of answers: against a slow double loop, closed forms, invariances and gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from amif_lightning.losses.likelihood import sequence_log_likelihood


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
    other = logits.clone()
    other[~mask] = 1e4
    other[1, 4, :] = float("-inf")  # NaN as a log-probability
    changed = targets.where(mask, 6)
    value = sequence_log_likelihood(other, changed, mask)
    torch.testing.assert_close(value, sequence_log_likelihood(logits, targets, mask))


def test_the_order_of_the_batch_changes_nothing(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    order = torch.tensor([2, 0, 3, 1])
    logits, targets, mask = (x[order] for x in sample)
    permuted = sequence_log_likelihood(logits, targets, mask)
    torch.testing.assert_close(permuted, sequence_log_likelihood(*sample)[order])


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(4, 6, dtype=torch.long)}, "targets"),
        ({"mask": torch.ones(4, 5)}, "bool mask"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
    ],
)
def test_bad_input_is_named(
    sample: tuple[Tensor, Tensor, Tensor], change: dict[str, Any], message: str
) -> None:
    logits, targets, mask = sample
    arguments: dict[str, Any] = {"logits": logits, "targets": targets, "mask": mask, **change}
    with pytest.raises(ValueError, match=message):
        sequence_log_likelihood(**arguments)
