"""The answer decoder: its output layer and the copy of the text encoder's weights."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from amif_lightning.batch import Tokens
from amif_lightning.models.decoder import AnswerDecoder

V, D, S = 30, 16, 6


def make(layers: int = 2) -> AnswerDecoder:
    torch.manual_seed(0)
    return AnswerDecoder(V, D, layers, 2, 32, 8).eval()


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


def test_shapes_and_the_tied_output_layer() -> None:
    decoder, ids, states = make(), torch.randint(3, V, (3, 5)), torch.randn(3, S, D)
    logits = decoder(ids, torch.ones(3, 5).bool(), states, torch.ones(3, S).bool())
    assert logits.shape == (3, 5, V)
    head = decoder.lm.get_output_embeddings()
    assert head.weight is decoder.lm.get_input_embeddings().weight


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


def test_scoring_some_tokens_only_is_a_softmax_over_them() -> None:
    full, few = make(), make()
    few.score_only([9, 2, 5, 9], other=0)
    ids, states = torch.tensor([[1, 9, 5, 2]]), torch.randn(1, S, D)
    valid, seen = torch.ones(1, 3).bool(), torch.ones(1, S).bool()
    logits = full(ids[:, :-1], valid, states, seen)
    hidden = logits.new_full((V,), -torch.inf)
    hidden[[0, 2, 5, 9]] = 0
    expected = (logits + hidden).log_softmax(-1)
    found = few(ids[:, :-1], valid, states, seen).log_softmax(-1)
    assert found.shape == (1, 3, few.outputs) == (1, 3, 4)
    torch.testing.assert_close(found, expected[..., [0, 2, 5, 9]])
    every = torch.ones(1, 4).bool()
    value = few.log_likelihood(Tokens(ids, every), states, seen)
    torch.testing.assert_close(value, expected[0, [0, 1, 2], [9, 5, 2]].sum()[None])
    # A token that is not scored counts as `other`.
    ids = torch.tensor([[1, 9, 7, 2]])
    value = few.log_likelihood(Tokens(ids, every), states, seen)
    expected = (full(ids[:, :-1], valid, states, seen) + hidden).log_softmax(-1)
    torch.testing.assert_close(value, expected[0, [0, 1, 2], [9, 0, 2]].sum()[None])
    value.backward()
    bias = few.lm.cls.predictions.bias.grad
    assert bias is not None
    assert bias.nonzero()[:, 0].tolist() == [0, 2, 5, 9]
    few.score_only([4], other=0)  # replaces the tokens
    assert few.columns_of(torch.tensor([0, 4, 9])).tolist() == [0, 1, 0]
