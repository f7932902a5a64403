"""The answer decoder: its output layer and the copy of the text encoder's weights."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

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
