"""Free-form answers by beam search, through transformers' own ``generate``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from amif_lightning.models.decoder import AnswerDecoder


@torch.no_grad()
def generate(
    decoder: AnswerDecoder,
    states: Tensor,
    states_mask: Tensor,
    bos: int,
    eos: int,
    pad: int,
    beams: int = 3,
    max_length: int | None = None,
) -> list[list[int]]:
    """Answer of highest log-likelihood that a beam search finds for each question.

    Finished beams compete by their plain log-likelihood (no length penalty), as in ranking.

    Args:
        decoder: The decoder, in evaluation mode.
        states: (B, S, D) fused tokens.
        states_mask: (B, S) bool, True at valid tokens.
        bos: Id of the beginning token ([CLS]).
        eos: Id of the end token ([SEP]).
        pad: Id of the padding token.
        beams: Beam width, at least 1; 1 is greedy search.
        max_length: Most tokens of an answer, the end token included; by default all the decoder's
            positions.

    Returns:
        B lists of token ids without beginning, end and padding tokens.

    Raises:
        ValueError: The decoder is in training mode, or ``beams`` or ``max_length`` out of range.
    """
    longest = decoder.max_length if max_length is None else max_length
    if not 1 <= longest <= decoder.max_length:
        raise ValueError(f"expected max_length in 1..{decoder.max_length}, got {longest}")
    if beams < 1:
        raise ValueError(f"expected at least one beam, got {beams}")
    if decoder.training:
        raise ValueError("the decoder is in training mode and would drop units: call eval() first")
    start = torch.full((states.shape[0], 1), bos, dtype=torch.long, device=states.device)
    model: Any = decoder.lm  # transformers types `generate` for a protocol its own models miss
    sequences = model.generate(
        start,
        attention_mask=torch.ones_like(start),
        encoder_hidden_states=states,
        encoder_attention_mask=states_mask,
        # generate's default is one DynamicCache, which cross-attention cannot use.
        past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
        num_beams=beams,
        do_sample=False,
        length_penalty=0.0,
        max_new_tokens=longest,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    return [_until(row, eos) for row in sequences[:, 1:].tolist()]


def _until(tokens: list[int], end: int) -> list[int]:
    """The tokens before the first end token, all of them where there is none."""
    return tokens[: tokens.index(end)] if end in tokens else tokens
