"""Selective knowledge fusion: a gate decides how much answer vocabulary each token lets in."""

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
    """What the gated cross-attention did.

    Attributes:
        states: (B, S, D) enriched states.
        gate: (B, S, D) openness in (0, 1), 1 throughout without a gate: 0 keeps the token, 1 takes
            what was read.
        log_attention: (B, N) float32, natural logarithm of the weight that the question gives each
            entry: that of the first token, averaged over heads, before dropout.
    """

    states: Tensor
    gate: Tensor
    log_attention: Tensor


@dataclass(frozen=True)
class DecoderInput:
    """What the decoder reads, and how it came about.

    Attributes:
        states: (B, S, D) question tokens, then image tokens.
        mask: (B, S) bool, false on padding.
        words: Number of leading question positions among S.
        reading: The gated cross-attention's gate and attention; None where nothing is read.
    """

    states: Tensor
    mask: Tensor
    words: int
    reading: KnowledgeReading | None


class GatedCrossAttention(nn.Module):
    r"""Reads the answer vocabulary through a gate (paper, selective knowledge fusion).

    With K (N, D) the vocabulary vectors and x the fused tokens::

        K1 = LN(K + SelfAttn(K));  K' = LN(K1 + FFN1(K1))
        x1 = LN(x + CrossAttn(x, K', K'));  g = sigmoid(W x1 + b)
        m = g * x1 + (1 - g) * x;  out = LN(m + FFN2(m))

    With g = 0 the output does not depend on K. K' is the same for all tokens of a step, so it is
    computed once at batch 1; in evaluation without gradients it is kept until :meth:`forget`,
    :meth:`train`, :meth:`eval` or a load of weights.

    Args:
        width: Width D.
        heads: Attention heads.
        dropout: Dropout probability.
        gated: Whether there is a gate; without it g = 1 everywhere and no weights belong to it.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.1, *, gated: bool = True) -> None:
        super().__init__()
        self.knowledge_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.knowledge_norm = nn.LayerNorm(width)
        self.knowledge_ffn = _feed_forward(width, dropout)
        self.knowledge_out = nn.LayerNorm(width)
        self.cross_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross_norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, width) if gated else None
        self.ffn = _feed_forward(width, dropout)
        self.out = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self._kept: Tensor | None = None
        self.register_load_state_dict_post_hook(_forget)

    def train(self, mode: bool = True) -> GatedCrossAttention:
        """Switch mode; weights may change from here on."""
        self.forget()
        super().train(mode)
        return self

    def forget(self) -> None:
        """Drop the kept K'; needed when the vocabulary changes in evaluation mode."""
        self._kept = None

    def encode(self, vocabulary: Tensor) -> Tensor:
        """Vocabulary vectors (N, D) -> K' (1, N, D)."""
        if self.training or torch.is_grad_enabled():
            self.forget()  # weights are about to change, and what was kept carries no gradient
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
        """Let each fused token (B, S, D), the first of a question, read the vocabulary (N, D)."""
        knowledge = self.encode(vocabulary)
        # Every token reads the same entries, so the batch is laid out as one long row of queries:
        # K' is projected once and never copied per sample.
        queries = states.reshape(1, -1, states.shape[-1])
        read, _ = self.cross_attention(queries, knowledge, knowledge, need_weights=False)
        read = read.view_as(states)
        candidate = self.cross_norm(states + self.dropout(read))
        gate = torch.ones_like(candidate) if self.gate is None else self.gate(candidate).sigmoid()
        mixed = gate * candidate + (1 - gate) * states
        enriched = self.out(mixed + self.ffn(mixed))
        return KnowledgeReading(enriched, gate, self.log_attention(states[:, 0], knowledge[0]))

    def log_attention(self, queries: Tensor, knowledge: Tensor) -> Tensor:
        """Logarithm (B, N) of the weights of one token a sample (B, D) on K' (N, D), over heads.

        Computed apart from the attention itself, which gives weights for all tokens or none, and
        after dropout, where a weight of exactly 0 would have no logarithm.
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
    """The answer vocabulary as vectors, made anew from the text encoder's word embeddings.

    Args:
        entries: Token ids of each of N entries, at least one each.

    Raises:
        ValueError: If there is no entry, or one without tokens.
    """

    def __init__(self, entries: Sequence[Sequence[int]]) -> None:
        super().__init__()
        if not entries or not all(entries):
            raise ValueError("a vocabulary needs entries, each with at least one token")
        starts = [0, *accumulate(len(ids) for ids in entries)][:-1]
        flat = torch.tensor([i for ids in entries for i in ids])
        # Not persistent: the entries are stored in the checkpoint as text and ids already.
        self.register_buffer("pieces", flat, persistent=False)
        self.register_buffer("starts", torch.tensor(starts), persistent=False)
        self.pieces: Tensor
        self.starts: Tensor

    def forward(self, embedding: nn.Embedding) -> Tensor:
        """Mean word embedding of each entry's pieces, without positions: (N, D)."""
        return F.embedding_bag(self.pieces, embedding.weight, self.starts, mode="mean")


def _forget(module: nn.Module, incompatible_keys: object) -> None:
    """Hook on the load of weights; a function, so that the module can still be pickled."""
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
