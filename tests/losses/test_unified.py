"""All pairs of modalities under one loss: which sides are compared, with which labels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.alignment import alignment_loss, hard_labels, soft_labels
from amif_lightning.losses.unified import PAIRS, Labels, Pair, Sides, UnifiedAlignment

SCALE = 2.0


def unit(seed: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(5, width, generator=generator), dim=1)


def student() -> Sides:
    return Sides(unit(0, 6), unit(1, 6), unit(2, 6), unit(3, 6))


def teacher() -> Sides:
    return Sides(unit(10, 4), unit(11, 4), unit(12, 4))


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


def test_a_text_is_compared_with_itself_where_there_is_one_pass() -> None:
    s = Sides(unit(0, 6), unit(1, 6), unit(2, 6))
    assert torch.equal(s.of("text_text")[0], s.of("text_text")[1])


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_half_precision_changes_nothing_but_the_features(kind: Labels, dtype: torch.dtype) -> None:
    module = UnifiedAlignment(kind, temperature=0.01)
    half = Sides(*(unit(seed, 6).to(dtype) for seed in range(4)))
    plain = Sides(*(unit(seed, 6).to(dtype).float() for seed in range(4)))
    with torch.autocast("cpu", dtype=dtype):
        losses = module(half, same(), teacher(), SCALE).losses
    for pair, value in module(plain, same(), teacher(), SCALE).losses.items():
        assert losses[pair].dtype == torch.float32
        torch.testing.assert_close(losses[pair], value)
