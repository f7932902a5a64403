"""Co-attention fusion of text and image (paper, multi-modal encoder), and heads on its output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CoAttention(nn.Module):
    """Parallel text and image layers of self-attention, cross-attention and feed-forward.

    In each layer both streams attend to the other's *previous* layer. Layers are post-norm, as in
    BERT. A linear projection and a modality embedding per stream come first. The text encoder's
    states have ``text_width``, the image tower's tokens ``image_width`` and the fusion layers
    ``width`` (D) channels; each stream has ``layers`` layers. ``attention_dropout`` is the dropout
    of attention weights; None: as ``dropout``.
    """

    def __init__(
        self,
        text_width: int,
        image_width: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.text_projection = nn.Linear(text_width, width)
        self.image_projection = nn.Linear(image_width, width)
        self.modality = nn.Embedding(2, width)
        nn.init.normal_(self.modality.weight, std=0.02)
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

        def layer() -> nn.TransformerDecoderLayer:
            built = nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout, activation="gelu", batch_first=True
            )
            if attention_dropout is not None:
                built.self_attn.dropout = built.multihead_attn.dropout = attention_dropout
            return built

        self.text_layers = nn.ModuleList(layer() for _ in range(layers))
        self.image_layers = nn.ModuleList(layer() for _ in range(layers))

    def forward(
        self, text: Tensor, text_mask: Tensor, image: Tensor, image_index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fuse to words (B, L, D), arbitrary on padding, and patches (B, 1 + P, D).

        Args:
            text: (B, L, text_width) states of the text encoder.
            text_mask: (B, L) bool, true on tokens. Column 0 must be true, because attention is
                undefined for a fully padded row.
            image: (I, 1 + P, image_width) tokens of the image tower.
            image_index: (B,) image of each text; None when I = B in order.
        """
        words = self.text_norm(self.text_projection(text) + self.modality.weight[0])
        patches = self.image_norm(self.image_projection(image) + self.modality.weight[1])
        words = self.dropout(words)
        if image_index is not None:
            # The gradient of patches[image_index] sums in any order, also on CPUs, so runs would
            # not be reproducible.
            patches = patches.index_select(0, image_index)
        patches = self.dropout(patches)
        padding = ~text_mask
        for text_layer, image_layer in zip(self.text_layers, self.image_layers, strict=True):
            new_words = text_layer(words, patches, tgt_key_padding_mask=padding)
            new_patches = image_layer(patches, words, memory_key_padding_mask=padding)
            words, patches = new_words, new_patches
        return words, patches

    @staticmethod
    def join(words: Tensor, text_mask: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Concatenate the streams: states (B, L + 1 + P, D) and their mask."""
        mask = torch.cat([text_mask, text_mask.new_ones(patches.shape[:2])], dim=1)
        return torch.cat([words, patches], dim=1), mask


def global_embedding(projection: nn.Module, states: Tensor) -> Tensor:
    """Project the first token of each sample and scale it to unit norm (paper, global alignment).

    ``states`` (N, S, W) are text states ([CLS] first) or image tokens (summary first).
    ``projection`` maps W to D channels; it is :class:`CoAttention`'s if stages and fusion layers
    share it, as in the released code. The result (N, D) is at least float32 for any precision of
    the layers.
    """
    vectors: Tensor = projection(states[:, 0])
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)


@dataclass(frozen=True)
class EncodedPair:
    """Outputs of the encoders and fusion layers for B texts and I <= B images."""

    text: Tensor  # (B, L, text width) states of the text encoder
    image: Tensor  # (I, 1 + P, image width) tokens of the image tower
    words: Tensor  # (B, L, D) fused words; arbitrary on padding
    patches: Tensor  # (B, 1 + P, D) fused patches
    mask: Tensor  # (B, L) bool, true on words


class MatchingHead(nn.Module):
    """Score a fused pair from the first token of both streams (paper, image-text matching)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(2 * width, 2)

    def forward(self, words: Tensor, patches: Tensor) -> Tensor:
        """Compute logits (N, 2) of words (N, L, D) and patches (N, 1 + P, D); column 1: matched.

        They are unbounded, because a clamped score has no gradient beyond its bound.
        """
        scores: Tensor = self.score(torch.cat([words[:, 0], patches[:, 0]], dim=1))
        return scores
