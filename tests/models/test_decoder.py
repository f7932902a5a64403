"""The answer decoder: causality, masks, ties and the copy of the text encoder's weights."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from amif_lightning.models.decoder import AnswerDecoder

V, D, S = 30, 16, 6


def make(layers: int = 2, attn_implementation: Literal["sdpa", "eager"] = "sdpa") -> AnswerDecoder:
    torch.manual_seed(0)
    return AnswerDecoder(
        V, D, layers, 2, 32, 8, dropout=0.1, attn_implementation=attn_implementation
    ).eval()


def encoder(layers: int = 3, width: int = D) -> BertModel:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=V,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    return BertModel(config)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, V, (3, 5), generator=generator)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    states_mask = torch.arange(S) < torch.tensor([[6], [2], [4]])
    return ids, mask, torch.randn(3, S, D, generator=generator), states_mask


def test_shapes_and_the_tied_output_layer(inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    decoder = make()
    assert decoder(*inputs).shape == (3, 5, V)
    head = decoder.lm.get_output_embeddings()
    assert head.weight is decoder.lm.get_input_embeddings().weight


def test_a_token_sees_no_later_token(inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    ids, _, states, states_mask = inputs
    decoder, mask = make(), torch.ones(3, 5, dtype=torch.bool)
    changed = ids.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % V
    first, second = (decoder(x, mask, states, states_mask) for x in (ids, changed))
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert (first[:, 3:] - second[:, 3:]).abs().max() > 1e-3


def test_padding_of_answers_and_states_changes_nothing(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    ids, mask, states, states_mask = inputs
    decoder = make()
    with torch.no_grad():
        together = decoder(*inputs)
        noisy = states.masked_fill(~states_mask[..., None], 50.0)
        torch.testing.assert_close(decoder(ids, mask, noisy, states_mask)[mask], together[mask])
        for row in range(3):
            n, s = int(mask[row].sum()), int(states_mask[row].sum())
            alone = decoder(
                ids[row : row + 1, :n],
                mask[row : row + 1, :n],
                states[row : row + 1, :s],
                states_mask[row : row + 1, :s],
            )
            torch.testing.assert_close(alone[0], together[row, :n], atol=1e-5, rtol=1e-5)


def test_the_states_are_read_and_receive_gradient(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    ids, mask, states, states_mask = inputs
    states.requires_grad_()
    make()(ids, mask, states, states_mask)[mask].square().sum().backward()
    assert states.grad is not None
    assert bool((states.grad.abs().sum(-1) > 0).eq(states_mask).all())


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_four_dimensional_bool_mask_is_honoured(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor], implementation: Literal["sdpa", "eager"]
) -> None:
    ids, _, states, states_mask = inputs
    decoder = make(attn_implementation=implementation)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    packed = decoder.logits(decoder.hidden(ids, states, states_mask, causal))
    plain = make()(ids, torch.ones(3, 5, dtype=torch.bool), states, states_mask)
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
def test_weights_come_from_the_text_encoder(layers: int) -> None:
    decoder, source = make(layers=2), encoder(layers)
    before = {name: value.clone() for name, value in decoder.lm.bert.named_parameters()}
    transform = decoder.lm.cls.predictions.transform.dense.weight.clone()
    decoder.initialise_from(source)
    theirs = dict(source.named_parameters())
    for name, value in decoder.lm.bert.named_parameters():
        if "crossattention" in name or (layers == 1 and "layer.1" in name):
            assert torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, theirs[name][: len(value)]), name
    assert torch.equal(decoder.lm.cls.predictions.transform.dense.weight, transform)
    table = decoder.lm.get_output_embeddings().weight
    assert torch.equal(table, theirs["embeddings.word_embeddings.weight"])
    with pytest.raises(RuntimeError, match="size"):
        decoder.initialise_from(encoder(width=32))
