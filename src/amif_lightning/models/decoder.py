"""The answer decoder: an unmodified Hugging Face BERT with cross-attention to the fused tokens.

B answers, T answer tokens, S fused tokens, D width, V token ids, K <= V scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertLMHeadModel, BertModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from amif_lightning.batch import Tokens
from amif_lightning.losses.answering import sequence_log_likelihood
from amif_lightning.models.text import initializer_range


class AnswerDecoder(nn.Module):
    """``BertLMHeadModel`` with cross-attention; its output layer is tied to the word embeddings.

    Args:
        vocab_size: V, the tokenizer's size.
        width: D, also the width of the fused tokens.
        layers: Transformer layers.
        heads: Attention heads; must divide ``width``.
        intermediate: Width of the feed-forward layers.
        max_length: Longest input in tokens, including the beginning token.
        dropout: Probability in [0, 1), on hidden states and attention weights.
        attention_dropout: The same on attention weights; None: as ``dropout``.
        attn_implementation: ``sdpa``, or ``eager`` (faster in bf16 backward passes on CPU).
        pad: Id of the padding token; its embedding receives no gradient.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 768,
        layers: int = 6,
        heads: int = 12,
        intermediate: int = 3072,
        max_length: int = 32,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        attn_implementation: Literal["sdpa", "eager"] = "sdpa",
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.vocab_size, self.max_length = vocab_size, max_length
        self.attn_implementation = attn_implementation
        self.lm = BertLMHeadModel(
            BertConfig(
                vocab_size=vocab_size,
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=intermediate,
                max_position_embeddings=max_length,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=(
                    dropout if attention_dropout is None else attention_dropout
                ),
                initializer_range=initializer_range(width),
                pad_token_id=pad,
                is_decoder=True,
                add_cross_attention=True,
            )
        )
        self.lm.set_attn_implementation(attn_implementation)
        # (K,) scored tokens and (V,) the column of each token; None: all of them
        self.register_buffer("scored", None, persistent=False)
        self.register_buffer("columns", None, persistent=False)
        self.scored: Tensor | None
        self.columns: Tensor | None

    @torch.no_grad()
    def initialise_from(self, text_encoder: BertModel) -> None:
        """Copy the embeddings and the first layers' self-attention and feed-forward weights.

        Cross-attention and the output transform keep their initial weights. Position embeddings are
        cut to ``max_length``. An encoder with fewer layers fills the decoder's first ones. A weight
        of another shape raises a RuntimeError.
        """
        weights = dict(text_encoder.named_parameters())
        for name, parameter in self.lm.bert.named_parameters():
            if name not in weights:  # cross-attention, or a layer beyond the encoder's last
                continue
            value: Tensor = weights[name]
            if name == "embeddings.position_embeddings.weight":
                value = value[: self.max_length]
            parameter.copy_(value)

    def score_only(self, ids: Iterable[int], other: int) -> None:
        """Score only the tokens ``ids``, and ``other`` in place of every other token.

        The answers of a training set use few tokens, and the output layer is the largest product
        of a small decoder.
        """
        scored = sorted({*ids, other})
        columns = torch.full((self.vocab_size,), scored.index(other))
        columns[scored] = torch.arange(len(scored))
        device = self.lm.device
        self.scored, self.columns = torch.tensor(scored, device=device), columns.to(device)

    def forward(
        self, input_ids: Tensor, mask: Tensor, states: Tensor, states_mask: Tensor
    ) -> Tensor:
        """Compute the logits (B, T, K) of the next token after every token of the given answers.

        ``input_ids`` (B, T) are answers with a beginning token, padded on the right; ``mask`` (B,
        T) bool is True at tokens. ``states`` (B, S, D) are the fused tokens; ``states_mask`` (B, S)
        bool is True at valid ones, at least one in each row.
        """
        return self.logits(self.hidden(input_ids, states, states_mask, mask))

    def hidden(
        self,
        input_ids: Tensor,
        states: Tensor,
        states_mask: Tensor,
        mask: Tensor,
        positions: Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
    ) -> Tensor:
        """Compute the last hidden states (B, T, D), before the output layer.

        Args:
            input_ids: (B, T) token ids.
            states: (B, S, D) fused tokens; unused once the cache has cross-attention keys.
            states_mask: (B, S) bool.
            mask: (B, T) bool for causal attention, or (B or 1, 1, T, C) bool: which of the C cached
                and new tokens each new token attends to.
            positions: (B, T) or (1, T) positions from 0; by default 0 .. T-1.
            cache: Keys and values of earlier calls; extended in place.
        """
        if mask.ndim == 4 and self.attn_implementation == "eager":
            # Eager attention adds its mask to the scores; a bool mask would add ones.
            hide = torch.finfo(states.dtype).min
            mask = states.new_zeros(mask.shape).masked_fill_(~mask, hide)
        output = self.lm.bert(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            encoder_hidden_states=states,
            encoder_attention_mask=states_mask,
            cache=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the output layer: (..., D) hidden states to (..., K) logits."""
        if self.scored is None:
            return self.lm.cls(hidden)
        head = self.lm.cls.predictions
        output = self.lm.get_output_embeddings()
        weight, bias = (x.index_select(0, self.scored) for x in (output.weight, output.bias))
        return F.linear(head.transform(hidden), weight, bias)

    @property
    def outputs(self) -> int:
        """Return the number K of scored tokens."""
        return self.vocab_size if self.scored is None else len(self.scored)

    def columns_of(self, ids: Tensor) -> Tensor:
        """Return the columns of tokens in the logits, of the shape of ``ids``."""
        return ids if self.columns is None else self.columns[ids]

    def column_of(self, token: int) -> int:
        """Return the column of a token in the logits."""
        return token if self.columns is None else int(self.columns[token])

    def log_likelihood(
        self, answer: Tokens, states: Tensor, states_mask: Tensor, label_smoothing: float = 0.0
    ) -> Tensor:
        """Compute the log-likelihood (B,) of answers with their end token."""
        ids, mask = answer.ids, answer.mask
        hidden = self.hidden(ids[:, :-1], states, states_mask, mask[:, :-1])
        targets, valid = self.columns_of(ids[:, 1:]), mask[:, 1:]
        return sequence_log_likelihood(self.logits(hidden[valid]), targets, valid, label_smoothing)

    def check_evaluation_mode(self) -> None:
        """Raise ValueError in training mode, in which dropout would change answers."""
        if self.training:
            raise ValueError(
                "the decoder is in training mode and would apply dropout: call eval() first"
            )


@torch.no_grad()
def generate(
    decoder: AnswerDecoder,
    states: Tensor,
    states_mask: Tensor,
    bos: int,
    eos: int,
    pad: int,
    beams: int = 3,
) -> list[list[int]]:
    """Generate the answer of highest log-likelihood that transformers' beam search finds.

    Finished beams are compared by log-likelihood without length penalty, as in ranking. The decoder
    must be in evaluation mode (ValueError otherwise). ``states`` (B, S, D) are the fused tokens,
    and ``states_mask`` (B, S) bool is True at valid ones. ``bos``, ``eos`` and ``pad`` are the ids
    of [CLS], [SEP] and padding. ``beams`` is at least 1; 1 is greedy search. Returns B lists of
    token ids without these three tokens.
    """
    decoder.check_evaluation_mode()
    start = torch.full((states.shape[0], 1), bos, dtype=torch.long, device=states.device)
    model: Any = decoder.lm  # transformers' types of `generate` reject its own models
    options: dict[str, Any] = {}
    if decoder.scored is not None:
        other = set(range(decoder.vocab_size)).difference(decoder.scored.tolist()) | {pad}
        options = {"suppress_tokens": sorted(other), "renormalize_logits": True}
    sequences = model.generate(
        start,
        attention_mask=torch.ones_like(start),
        encoder_hidden_states=states,
        encoder_attention_mask=states_mask,
        # The default is one DynamicCache, which cross-attention cannot use.
        cache=EncoderDecoderCache(DynamicCache(), DynamicCache()),
        num_beams=beams,
        do_sample=False,
        length_penalty=0.0,
        max_new_tokens=decoder.max_length,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
        **options,
    )
    return [
        row[: row.index(eos)] if eos in row else row  # without an end token: all positions
        for row in sequences[:, 1:].tolist()
    ]
