"""Co-attention: padding, what reads what, and images shared by several questions; the heads."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from amif_lightning.models.fusion import CoAttention, MatchingHead, global_embedding

B, L, P1, TEXT, IMAGE, D, HEADS, LAYERS = 3, 5, 4, 6, 10, 8, 2, 3
LENGTHS = (5, 2, 1)


def make(dropout: float = 0.0, layers: int = LAYERS) -> CoAttention:
    torch.manual_seed(0)
    fusion = CoAttention(TEXT, IMAGE, D, layers, HEADS, dropout)
    with torch.no_grad():
        for parameter in fusion.parameters():  # biases and norms start at 0 and 1
            parameter.add_(0.2 * torch.randn_like(parameter))
    return fusion


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    mask = torch.arange(L) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(B, L, TEXT, generator=draw), mask, torch.randn(B, P1, IMAGE, generator=draw)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


# ---- a slow reference: post-norm layers on one sample without padding --------------------------


def slow_attention(query: Tensor, memory: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    """(q, D) reads (k, D), head by head."""
    assert attention.in_proj_weight is not None
    q, k, v = (
        x @ w.T + b
        for x, w, b in zip(
            (query, memory, memory),
            attention.in_proj_weight.chunk(3),
            attention.in_proj_bias.chunk(3),
            strict=True,
        )
    )
    wide = D // HEADS
    read = []
    for head in range(HEADS):
        span = slice(head * wide, (head + 1) * wide)
        weights = (q[:, span] @ k[:, span].T / wide**0.5).exp()
        read.append(weights / weights.sum(1, keepdim=True) @ v[:, span])
    return torch.cat(read, 1) @ attention.out_proj.weight.T + attention.out_proj.bias


def slow_layer(layer: nn.Module, states: Tensor, other: Tensor) -> Tensor:
    """Self-attention, cross-attention, feed-forward; a norm after every sum."""
    assert isinstance(layer, nn.TransformerDecoderLayer)
    states = layer.norm1(states + slow_attention(states, states, layer.self_attn))
    states = layer.norm2(states + slow_attention(states, other, layer.multihead_attn))
    hidden = nn.functional.gelu(layer.linear1(states))
    result: Tensor = layer.norm3(states + layer.linear2(hidden))
    return result


def slow_fusion(
    fusion: CoAttention, text: Tensor, image: Tensor, previous: bool = True
) -> tuple[Tensor, Tensor]:
    words = fusion.text_norm(fusion.text_projection(text) + fusion.modality.weight[0])
    patches = fusion.image_norm(fusion.image_projection(image) + fusion.modality.weight[1])
    for text_layer, image_layer in zip(fusion.text_layers, fusion.image_layers, strict=True):
        new_words = slow_layer(text_layer, words, patches)
        new_patches = slow_layer(image_layer, patches, words if previous else new_words)
        words, patches = new_words, new_patches
    return words, patches


MODES = ["train", "eval", "eval without gradients"]


@pytest.mark.parametrize("mode", MODES)
def test_streams_read_the_other_s_previous_layer(
    mode: str, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    fusion, (text, mask, image) = make().train(mode == "train"), inputs
    with torch.set_grad_enabled("without" not in mode):
        words, patches = fusion(text, mask, image)
        for row, length in enumerate(LENGTHS):
            slow_words, slow_patches = slow_fusion(fusion, text[row, :length], image[row])
            close(words[row, :length], slow_words)
            close(patches[row], slow_patches)
        assert words.isfinite().all()  # padding too: 0 x NaN is NaN
        # The reference distinguishes the two orders.
        other = slow_fusion(fusion, text[0], image[0], previous=False)[1]
        assert (other - patches[0]).abs().max() > 1e-3


def test_gradients_of_shared_images_are_the_same_every_time(two_threads: None) -> None:
    """Many questions about few images of many tokens, so that the order of sums shows."""
    torch.manual_seed(0)
    fusion = CoAttention(TEXT, IMAGE, 64, 1, 2, 0.0)
    mask, index = torch.ones(96, 3, dtype=torch.bool), torch.randint(0, 4, (96,))
    text, image = torch.randn(96, 3, TEXT), torch.randn(4, 65, IMAGE)

    def gradient() -> bytes:
        fusion.zero_grad()
        words, patches = fusion(text, mask, image, index)
        (words.square().sum() + patches.square().sum()).backward()
        found = fusion.image_projection.weight.grad
        assert found is not None
        return found.numpy().tobytes()

    assert len({gradient() for _ in range(12)}) == 1


def test_the_fast_path_of_evaluation_survives_rows_with_one_token(
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    # torch's fast path gives NaN on fully masked target rows; column 0 is never masked.
    fusion, (text, _, image) = make().eval(), inputs
    mask = torch.zeros(B, L, dtype=torch.bool)
    mask[:, 0] = True
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.inference_mode():
        words, patches = fusion(text, mask, image)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            plain_words, plain_patches = fusion(text, mask, image)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert words.isfinite().all()
    close(words[mask], plain_words[mask])
    close(patches, plain_patches)


def test_shared_images_equal_repeated_images_in_values_and_gradients(
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    fusion, (text, mask, image) = make(), inputs
    index = torch.tensor([1, 0, 1])
    weight = torch.randn(B, L + P1, D, generator=torch.Generator().manual_seed(3))
    results = []
    for shared in (True, False):
        fusion.zero_grad()
        leaf = image[:2].clone().requires_grad_()
        words, patches = (
            fusion(text, mask, leaf, index) if shared else fusion(text, mask, leaf[index])
        )
        states, valid = fusion.join(words, mask, patches)
        (states * weight)[valid].sum().backward()
        gradients = {n: p.grad.clone() for n, p in fusion.named_parameters() if p.grad is not None}
        results.append((states[valid], leaf.grad, gradients))
    (states, images, gradients), (other_states, other_images, other_gradients) = results
    close(states, other_states)
    assert images is not None
    assert images.abs().sum((1, 2)).min() > 0
    close(images, other_images)  # type: ignore[arg-type]  # checked for None above by its twin
    assert set(gradients) == {name for name, _ in fusion.named_parameters()}
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, other_gradients[name], atol=1e-4, rtol=1e-4)


def test_join_puts_words_first_and_masks_padding_only(
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    fusion, (text, mask, image) = make(), inputs
    words, patches = fusion(text, mask, image)
    states, valid = fusion.join(words, mask, patches)
    assert torch.equal(states[:, :L], words)
    assert torch.equal(states[:, L:], patches)
    assert valid.dtype == torch.bool
    assert valid.tolist() == [[True] * n + [False] * (L - n) + [True] * P1 for n in LENGTHS]


@pytest.mark.parametrize("mode", MODES)
def test_bf16_autocast_stays_close_and_finite(
    mode: str, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    fusion, (text, mask, image) = make().train(mode == "train"), inputs
    with torch.no_grad():
        exact_words, exact_patches = fusion(text, mask, image)
    with torch.set_grad_enabled("without" not in mode), torch.autocast("cpu", dtype=torch.bfloat16):
        words, patches = fusion(text, mask, image)
    assert words.isfinite().all()
    torch.testing.assert_close(words[mask].float(), exact_words[mask], atol=0.15, rtol=0.1)
    torch.testing.assert_close(patches.float(), exact_patches, atol=0.15, rtol=0.1)
    if "without" not in mode:
        (words[mask][..., 0].sum() + patches[..., 0].sum()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


def test_an_embedding_is_the_projected_first_token_of_unit_norm() -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(5, 3).double(), torch.randn(4, 6, 5, dtype=torch.double)
    given = global_embedding(layer, states)
    weights, biases = layer.weight.tolist(), layer.bias.tolist()
    for row, first in zip(given, states[:, 0].tolist(), strict=True):
        raw = [
            sum(w * x for w, x in zip(given_to, first, strict=True)) + bias
            for given_to, bias in zip(weights, biases, strict=True)
        ]
        norm = math.sqrt(sum(value**2 for value in raw))
        assert row.tolist() == pytest.approx([value / norm for value in raw])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_are_single_precision_under_autocast(dtype: torch.dtype) -> None:
    layer, states = nn.Linear(5, 3), torch.randn(4, 6, 5)
    with torch.autocast("cpu", dtype=dtype):
        given = global_embedding(layer, states)
    assert given.dtype == torch.float32
    torch.testing.assert_close(given.norm(dim=1), torch.ones(4))


def test_the_head_reads_the_first_token_of_both_streams_only() -> None:
    torch.manual_seed(0)
    head = MatchingHead(4)
    words, patches = torch.randn(3, 5, 4), torch.randn(3, 7, 4)
    scores = head(words, patches)
    weight, bias = head.score.weight, head.score.bias
    by_hand = words[:, 0] @ weight[:, :4].T + patches[:, 0] @ weight[:, 4:].T + bias
    torch.testing.assert_close(scores, by_hand)
    for changed in (
        head(words + 100 * _after_first(5), patches),
        head(words, patches + 100 * _after_first(7)),
    ):
        torch.testing.assert_close(changed, scores)
    assert not torch.allclose(head(words * 2, patches), scores)
    assert not torch.allclose(head(words, patches * 2), scores)


def _after_first(length: int) -> torch.Tensor:
    return (torch.arange(length) > 0).float()[None, :, None]
