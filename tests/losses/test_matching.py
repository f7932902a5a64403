"""Which negatives are drawn, how often, and the matching loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.alignment import soft_labels
from amif_lightning.losses.matching import (
    draw_negatives,
    gumbel_noise,
    matching_loss,
    negative_log_weights,
)

EVERY = torch.ones(8, dtype=torch.bool)


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and equal pairs of five samples, of which 1 and 3 are equal."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(5, 5, generator=generator, dtype=torch.double)
    labels = torch.randn(5, 5, generator=generator, dtype=torch.double).softmax(1)
    same = torch.eye(5, dtype=torch.bool)
    same[1, 3] = same[3, 1] = True
    return logits, labels, same


def slow_weights(
    logits: Tensor, labels: Tensor, same: Tensor, kappa: float = 1.0, added: float = 0.0
) -> Tensor:
    weights = torch.zeros(5, 5, dtype=torch.double)
    for i in range(5):
        total = sum(math.exp(float(value)) for value in logits[i])
        plain = [
            float(labels[i, j]) / math.exp(added) if same[i, j] else float(labels[i, j])
            for j in range(5)
        ]
        for j in range(5):
            share = plain[j] / max(plain)
            if not same[i, j] and share < kappa:
                weights[i, j] = math.exp(float(logits[i, j])) / total * (1 - share)
    return weights


@pytest.mark.parametrize("kappa", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("added", [0.0, 0.5])
def test_weights_follow_their_equation(kappa: float, added: float) -> None:
    logits, labels, same = example()
    guarded = negative_log_weights(logits.requires_grad_(), labels, same, kappa, added).exp()
    assert not guarded.requires_grad
    torch.testing.assert_close(guarded, slow_weights(logits.detach(), labels, same, kappa, added))
    assert bool((guarded > 0).any())


def test_draws_have_the_weights_frequencies() -> None:
    logits, labels, same = example()
    log_weights = negative_log_weights(logits, labels, same)
    counts = torch.zeros(5, 5)
    draws = 4000
    for step in range(draws):
        drawn, admissible = draw_negatives(log_weights, gumbel_noise(5, 0, step))
        assert bool(admissible.all())
        counts[torch.arange(5), drawn] += 1
    wanted = slow_weights(logits, labels, same)
    wanted = (wanted / wanted.sum(1, keepdim=True)).float()
    # Four standard deviations of a share over that many draws.
    margin = 4 * (wanted * (1 - wanted) / draws).sqrt()
    assert bool(((counts / draws - wanted).abs() <= margin + 1e-9).all())
    assert float(counts[same].sum()) == 0.0


# ---- draws that went wrong elsewhere: each fails the check that ours passes ----------------------

Draw = Callable[[Tensor, Tensor, Tensor, int, int], list[int]]
FIRST_OF_SECOND = 2  # rows 2, 3 and 4 belong to a second process


def our_draw(logits: Tensor, labels: Tensor, same: Tensor, first: int, step: int) -> list[int]:
    """Columns drawn by the rows from ``first`` on."""
    weights = negative_log_weights(logits, labels, same)[first:]
    columns: list[int] = draw_negatives(weights, gumbel_noise(5, 0, step)[first:])[0].tolist()
    return columns


def from_a_list_less_one(
    logits: Tensor, labels: Tensor, same: Tensor, first: int, step: int
) -> list[int]:
    """The positive is removed from the list, and the index is used on the whole one."""
    generator = torch.Generator().manual_seed(step)
    columns = []
    for row in range(first, 5):
        chances = logits[row].softmax(0)
        others = torch.cat([chances[:row], chances[row + 1 :]])
        columns.append(int(torch.multinomial(others, 1, generator=generator)))
    return columns


def with_the_first_columns_masked(
    logits: Tensor, labels: Tensor, same: Tensor, first: int, step: int
) -> list[int]:
    """Row i of the process leaves out column i, whichever the process."""
    chances = logits.softmax(1)[first:]
    chances = chances.masked_fill(torch.eye(*chances.shape, dtype=torch.bool), 0.0)
    generator = torch.Generator().manual_seed(step)
    columns: list[int] = torch.multinomial(chances, 1, generator=generator)[:, 0].tolist()
    return columns


def by_cosines(logits: Tensor, labels: Tensor, same: Tensor, first: int, step: int) -> list[int]:
    """Similarities themselves are the weights."""
    weights = logits.masked_fill(torch.eye(5, dtype=torch.bool), 0.0)[first:]
    columns: list[int] = torch.multinomial(weights, 1)[:, 0].tolist()
    return columns


def check_never_itself(draw: Draw, first: int) -> None:
    """No row draws its own column, for any similarity."""
    logits, labels, same = example()
    logits = logits + 4 * torch.eye(5)
    for step in range(200):
        for row, column in enumerate(draw(logits, labels, same, first, step), start=first):
            assert column != row


@pytest.mark.parametrize("first", [0, FIRST_OF_SECOND])
def test_a_row_never_draws_itself(first: int) -> None:
    check_never_itself(our_draw, first)


@pytest.mark.parametrize(
    ("wrong", "first"),
    [(from_a_list_less_one, 0), (with_the_first_columns_masked, FIRST_OF_SECOND)],
)
def test_a_row_that_draws_itself_would_be_noticed(wrong: Draw, first: int) -> None:
    with pytest.raises(AssertionError):
        check_never_itself(wrong, first)


def test_negative_cosines_are_no_hindrance() -> None:
    _, labels, same = example()
    cosines = torch.full((5, 5), -0.5, dtype=torch.double) + 0.1 * torch.eye(5)
    assert all(0 <= column < 5 for column in our_draw(cosines, labels, same, 0, 0))
    with pytest.raises(RuntimeError, match="probability tensor"):
        by_cosines(cosines, labels, same, 0, 0)


def test_a_positive_is_never_drawn_however_alike() -> None:
    logits, labels, same = example()
    logits = logits.masked_fill(same, 1e4)
    log_weights = negative_log_weights(logits, labels, same)
    for step in range(200):
        drawn, admissible = draw_negatives(log_weights, gumbel_noise(5, 0, step))
        assert bool(admissible.all())
        assert not same[torch.arange(5), drawn].any()


# ---- the guard against studies whose teacher's vectors are equal ---------------------------------

SCALE, ADDED, COLDEST = 3.0, 0.01, 0.01  # scale and lambda of the labels, lowest temperature
DIFFERENT = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.6, 0.8]]
PAIR = (1, 4)  # two studies with one and the same vector, and different texts


def taught() -> tuple[Tensor, Tensor]:
    """Teacher's vectors of five studies, of which two are equal, and the pairs that are one."""
    return torch.tensor([*DIFFERENT, DIFFERENT[1]]), torch.eye(5, dtype=torch.bool)


def paraphrases(cosines: Tensor, kappa: float, taken_out: float) -> int:
    """How often in 200 steps a study draws the other one that has its own vector."""
    vectors, same = taught()
    labels = soft_labels(vectors, vectors, SCALE, same, ADDED)
    weights = negative_log_weights(cosines / COLDEST, labels, same, kappa, taken_out)
    found = 0
    for step in range(200):
        drawn, admissible = draw_negatives(weights, gumbel_noise(5, 0, step))
        assert bool(admissible.all())
        found += int(drawn[PAIR[0]]) == PAIR[1]
        found += int(drawn[PAIR[1]]) == PAIR[0]
    return found


def all_but_certain() -> Tensor:
    """Cosines of a student: 1 for the two equal studies, -1 for all others."""
    cosines = torch.full((5, 5), -1.0)
    cosines[PAIR[0], PAIR[1]] = cosines[PAIR[1], PAIR[0]] = 1.0
    return cosines


@pytest.mark.parametrize("kind", ["ideal", "certain", "noise"])
def test_equal_findings_are_never_drawn_by_any_student(kind: str) -> None:
    vectors, _ = taught()
    noise = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    cosines = {"ideal": vectors @ vectors.T, "certain": all_but_certain(), "noise": noise}[kind]
    assert paraphrases(cosines, 0.7, ADDED) == 0


def test_without_the_guard_a_good_student_draws_equal_findings() -> None:
    vectors, _ = taught()
    assert paraphrases(vectors @ vectors.T, 1.0, 0.0) > 300  # of 400
    assert paraphrases(all_but_certain(), 1.0, 0.0) == 400
    # It is the share that keeps them out where lambda stays in.
    assert paraphrases(all_but_certain(), 0.7, 0.0) == 0


def test_a_share_below_kappa_can_be_drawn_and_one_at_or_above_cannot() -> None:
    kappa = 0.75
    labels = torch.eye(5, dtype=torch.double)
    shares = torch.tensor([kappa - 1e-6, kappa, kappa + 1e-6, 0.1], dtype=torch.double)
    labels[0, 1:] = shares
    logits = torch.zeros(5, 5, dtype=torch.double)
    logits[0, 1:] = torch.tensor([30.0, 60.0, 90.0, 0.0], dtype=torch.double)
    weights = negative_log_weights(logits, labels, torch.eye(5, dtype=torch.bool), kappa)
    assert (weights[0] > -math.inf).tolist() == [False, True, False, False, True]
    drawn = {int(draw_negatives(weights, gumbel_noise(5, 0, step))[0][0]) for step in range(50)}
    assert drawn == {1}


def test_the_order_of_the_batch_does_not_matter_to_the_weights() -> None:
    logits, labels, same = example()
    order = torch.tensor([4, 2, 0, 3, 1])

    def turned(values: Tensor) -> Tensor:
        return values[order][:, order]

    torch.testing.assert_close(
        negative_log_weights(turned(logits), turned(labels), turned(same)),
        turned(negative_log_weights(logits, labels, same)),
    )


def test_a_row_without_an_admissible_negative_has_none() -> None:
    logits, labels, same = example()
    same[2] = True
    _, admissible = draw_negatives(
        negative_log_weights(logits, labels, same), gumbel_noise(5, 0, 0)
    )
    assert admissible.tolist() == [True, True, False, True, True]


def test_the_noise_is_the_same_in_every_version() -> None:
    # A seed that came from Python's hash would change with it.
    expected = torch.tensor([[2.5095, 0.4441], [2.0223, -1.2471]])
    torch.testing.assert_close(gumbel_noise(2, 3, 7), expected, rtol=0, atol=1e-4)
    for seed, step in ((3, 8), (4, 7), (-3, 7)):
        assert not torch.equal(gumbel_noise(2, seed, step), gumbel_noise(2, 3, 7))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_are_computed_in_single_precision(dtype: torch.dtype) -> None:
    logits, labels, same = example()
    half = logits.to(dtype) * 100
    with torch.autocast("cpu", dtype=dtype):
        weights = negative_log_weights(half, labels, same)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, negative_log_weights(half.float(), labels, same))
    extreme = torch.full((5, 5), 6e4, dtype=dtype).triu() - 6e4
    drawn, admissible = draw_negatives(
        negative_log_weights(extreme, labels, same), gumbel_noise(5, 0, 0)
    )
    assert bool(admissible.all())
    assert not same[torch.arange(5), drawn].any()


def test_matching_is_plain_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 2, generator=generator, dtype=torch.double) * 5
    matched = torch.tensor([True, False, True, False, False, True, False])
    slow = 0.0
    for row, right in zip(logits.tolist(), matched.tolist(), strict=True):
        slow -= math.log(math.exp(row[right]) / (math.exp(row[0]) + math.exp(row[1])))
    assert float(matching_loss(logits, matched, EVERY[:7], 7)) == pytest.approx(slow / 7, rel=1e-9)
    mean = F.cross_entropy(logits, matched.long())
    torch.testing.assert_close(matching_loss(logits, matched, EVERY[:7], 7), mean)
    order = torch.tensor([3, 0, 6, 1, 2, 5, 4])
    torch.testing.assert_close(matching_loss(logits[order], matched[order], EVERY[:7], 7), mean)


def clamped(logits: Tensor, matched: Tensor, valid: Tensor, pairs: float) -> Tensor:
    """The wrong version: scores cut off at 0 and 1."""
    return matching_loss(logits.clamp(0.0, 1.0), matched, valid, pairs)


def check_unbounded(loss: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Far on the wrong side there is a gradient, and far on the right one no loss."""
    matched = torch.tensor([True, False])
    wrong = torch.tensor([[9.0, -9.0], [-9.0, 9.0]], requires_grad=True)
    loss(wrong, matched, EVERY[:2], 2).backward()
    assert wrong.grad is not None
    assert bool((wrong.grad.abs() > 0.4).all())
    assert float(loss(-wrong.detach(), matched, EVERY[:2], 2)) < 1e-6


def test_scores_are_not_clamped() -> None:
    check_unbounded(matching_loss)
    with pytest.raises(AssertionError):
        check_unbounded(clamped)
    best = torch.tensor([[-9.0, 9.0], [9.0, -9.0]])
    floor = float(clamped(best, torch.tensor([True, False]), EVERY[:2], 2))
    assert floor == pytest.approx(math.log(1 + math.exp(-1)))  # 0.31 for any training


def test_matching_has_the_right_gradient() -> None:
    matched, valid = torch.tensor([True, False, False]), torch.tensor([True, True, False])
    scores = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: matching_loss(s, matched, valid, 2), (scores,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_extreme_scores_stay_finite_in_half_precision(dtype: torch.dtype) -> None:
    matched = torch.tensor([True, False])
    scores = torch.tensor([[6e4, -6e4], [6e4, -6e4]], dtype=dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = matching_loss(scores, matched, EVERY[:2], 2)
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(6e4, rel=1e-2)
    assert scores.grad is not None
    torch.testing.assert_close(
        scores.grad, torch.tensor([[0.5, -0.5], [0.0, 0.0]], dtype=dtype), rtol=0, atol=1e-6
    )


def test_pairs_that_are_not_valid_count_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 2, generator=generator, requires_grad=True)
    matched, valid = torch.tensor([True, False, True, False, False]), EVERY[:5].clone()
    valid[[1, 4]] = False
    loss = matching_loss(logits, matched, valid, 3)
    torch.testing.assert_close(
        loss, matching_loss(logits[valid], matched[valid], EVERY[:3], 3), rtol=0, atol=1e-6
    )
    (slope,) = torch.autograd.grad(loss, logits)
    assert bool((slope[~valid] == 0).all())
    assert bool((slope[valid] != 0).all())
    for pairs in (4, 0, torch.tensor(0.0)):
        nothing = matching_loss(logits, matched, torch.zeros_like(valid), pairs)
        assert float(nothing.detach()) == 0.0
        (slope,) = torch.autograd.grad(nothing, logits)
        assert float(slope.abs().sum()) == 0.0
