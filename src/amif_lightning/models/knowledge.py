"""Selective knowledge fusion: gated cross-attention to the answer vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class KnowledgeReading:
    """Output of the gated cross-attention."""

    states: Tensor  # (B, S, D) enriched states
    gate: Tensor  # (B, S, D) in (0, 1): 0 keeps the token, 1 replaces it; all 1 without a gate
    # (B, N) float32, natural logarithm of the attention from the question's first token to each
    # entry, averaged over heads, before dropout
    log_attention: Tensor


@dataclass(frozen=True)
class DecoderInput:
    """Input of the decoder."""

    states: Tensor  # (B, S, D) question tokens, then image tokens
    mask: Tensor  # (B, S) bool, false on padding
    words: int  # number of question positions among S
    reading: KnowledgeReading | None  # None without a vocabulary


class GatedCrossAttention(nn.Module):
    """Enrich fused tokens with the answer vocabulary (paper, selective knowledge fusion).

    With K (N, D) the vocabulary vectors and x the fused tokens::

        K1 = LN(K + SelfAttn(K));  K' = LN(K1 + FFN1(K1))
        x1 = LN(x + CrossAttn(x, K', K'));  g = sigmoid(W x1 + b)
        m = g * x1 + (1 - g) * x;  out = LN(m + FFN2(m))

    With g = 0 the output does not depend on K. K' is computed once per step, at batch 1. In
    evaluation without gradients it is cached until :meth:`forget`, :meth:`train`, :meth:`eval` or a
    load of weights. With ``gated`` false, g is 1 and W and b do not exist. ``width`` is D.
    ``attention_dropout`` is the dropout of attention weights; None: as ``dropout``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        *,
        gated: bool = True,
    ) -> None:
        super().__init__()
        of_weights = dropout if attention_dropout is None else attention_dropout
        self.knowledge_attention = nn.MultiheadAttention(width, heads, of_weights, batch_first=True)
        self.knowledge_norm = nn.LayerNorm(width)
        self.knowledge_ffn = _feed_forward(width, dropout)
        self.knowledge_out = nn.LayerNorm(width)
        self.cross_attention = nn.MultiheadAttention(width, heads, of_weights, batch_first=True)
        self.cross_norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, width) if gated else None
        self.ffn = _feed_forward(width, dropout)
        self.out = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self._kept: Tensor | None = None
        self.register_load_state_dict_post_hook(_forget)

    def train(self, mode: bool = True) -> GatedCrossAttention:
        """Switch the mode and drop the cached K', because weights may change afterwards."""
        self.forget()
        super().train(mode)
        return self

    def forget(self) -> None:
        """Drop the cached K'; required if the vocabulary changes in evaluation mode."""
        self._kept = None

    def encode(self, vocabulary: Tensor) -> Tensor:
        """Encode vocabulary vectors (N, D) as K' (1, N, D)."""
        if self.training or torch.is_grad_enabled():
            self.forget()  # weights may change, and the cached K' has no gradient
        elif self._kept is not None and self._kept.device == vocabulary.device:
            return self._kept
        entries = vocabulary[None]
        read, _ = self.knowledge_attention(entries, entries, entries, need_weights=False)
        first = self.knowledge_norm(entries + self.dropout(read))
        encoded: Tensor = self.knowledge_out(first + self.knowledge_ffn(first))
        if not self.training and not torch.is_grad_enabled():
            self._kept = encoded
        return encoded

    def forward(self, states: Tensor, vocabulary: Tensor) -> KnowledgeReading:
        """Enrich the fused tokens (B, S, D) with the vocabulary (N, D)."""
        knowledge = self.encode(vocabulary)
        # One long row of queries: K' is projected once and not copied per sample.
        queries = states.reshape(1, -1, states.shape[-1])
        read, _ = self.cross_attention(queries, knowledge, knowledge, need_weights=False)
        read = read.view_as(states)
        candidate = self.cross_norm(states + self.dropout(read))
        gate = torch.ones_like(candidate) if self.gate is None else self.gate(candidate).sigmoid()
        mixed = gate * candidate + (1 - gate) * states
        enriched = self.out(mixed + self.ffn(mixed))
        return KnowledgeReading(enriched, gate, self.log_attention(states[:, 0], knowledge[0]))

    def log_attention(self, queries: Tensor, knowledge: Tensor) -> Tensor:
        """Compute the log attention (B, N), averaged over heads, of one token (B, D) to K' (N, D).

        The attention layer itself returns the weights of all tokens after dropout, which can be 0.
        """
        attention = self.cross_attention
        width, heads = attention.embed_dim, attention.num_heads
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        query = F.linear(queries, weight[:width], bias[:width])
        key = F.linear(knowledge, weight[width : 2 * width], bias[width : 2 * width])
        query = query.view(len(queries), heads, -1).transpose(0, 1)  # (H, B, D / H)
        key = key.view(len(knowledge), heads, -1).permute(1, 2, 0)  # (H, D / H, N)
        logits = (query @ key) / math.sqrt(width // heads)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.log_softmax(-1).logsumexp(0) - math.log(heads)


class Vocabulary(nn.Module):
    """Vectors of the answer vocabulary, computed from the text encoder's word embeddings.

    ``entries`` holds the token ids of each of N entries. A ValueError is raised if it is empty, or
    if an entry has no tokens.
    """

    def __init__(self, entries: Sequence[Sequence[int]]) -> None:
        super().__init__()
        if not entries or not all(entries):
            raise ValueError("a vocabulary needs entries, each with at least one token")
        starts = [0, *accumulate(len(ids) for ids in entries)][:-1]
        flat = torch.tensor([i for ids in entries for i in ids])
        # Not persistent: the checkpoint already has the entries as text and ids.
        self.register_buffer("pieces", flat, persistent=False)
        self.register_buffer("starts", torch.tensor(starts), persistent=False)
        self.pieces: Tensor
        self.starts: Tensor

    def forward(self, embedding: nn.Embedding) -> Tensor:
        """Average the word embeddings of each entry's pieces, without positions: (N, D)."""
        return F.embedding_bag(self.pieces, embedding.weight, self.starts, mode="mean")


def _forget(module: nn.Module, incompatible_keys: object) -> None:
    """Hook on the load of weights; a module-level function can be pickled."""
    assert isinstance(module, GatedCrossAttention)
    module.forget()


def _feed_forward(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, 4 * width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(4 * width, width),
        nn.Dropout(dropout),
    )
