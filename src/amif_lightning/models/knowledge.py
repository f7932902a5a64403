"""Selective knowledge fusion: a gate decides how much answer vocabulary each token lets in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class KnowledgeReading:
    """What the gated cross-attention did.

    Attributes:
        states: (B, S, D) enriched states.
        gate: (B, S, D) openness in (0, 1), 1 throughout without a gate: 0 keeps the token, 1 takes
            what was read.
        attention: (B, S, N) weight of each vocabulary entry averaged over heads, or None when not
            asked for.
    """

    states: Tensor
    gate: Tensor
    attention: Tensor | None


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
        """Switch mode; weights may change from here on, so nothing kept stays valid."""
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

    def forward(
        self, states: Tensor, vocabulary: Tensor, *, attention: bool = False
    ) -> KnowledgeReading:
        """Let each token read the vocabulary.

        Args:
            states: (B, S, D) fused tokens.
            vocabulary: (N, D) vectors from :class:`Vocabulary`.
            attention: Whether to return the attention weights (slower).
        """
        knowledge = self.encode(vocabulary)
        # Every token reads the same entries, so the batch is laid out as one long row of queries:
        # K' is projected once and never copied per sample.
        queries = states.reshape(1, -1, states.shape[-1])
        read, weights = self.cross_attention(
            queries, knowledge, knowledge, need_weights=attention, average_attn_weights=True
        )
        read = read.view_as(states)
        candidate = self.cross_norm(states + self.dropout(read))
        if self.gate is None:
            gate = torch.ones_like(candidate)
        else:
            gate = torch.sigmoid(self.gate(candidate))
        mixed = gate * candidate + (1 - gate) * states
        enriched = self.out(mixed + self.ffn(mixed))
        if weights is not None:
            weights = weights.view(*states.shape[:2], -1)
        return KnowledgeReading(enriched, gate, weights)


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
        return functional.embedding_bag(self.pieces, embedding.weight, self.starts, mode="mean")


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
