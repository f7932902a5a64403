"""Whether an image and a text belong together, and which words and patches take part."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MatchingHead(nn.Module):
    """Scores a fused pair from the first token of both streams (paper, image-text matching).

    Args:
        width: Width D of the fusion layers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(2 * width, 2)

    def forward(self, words: Tensor, patches: Tensor) -> Tensor:
        """Score pairs.

        Args:
            words: (N, L, D) fused words, [CLS] first.
            patches: (N, 1 + P, D) fused patches, CLS first.

        Returns:
            (N, 2) logits; column 1 says that they belong together. They are not bounded: a clamped
            score has no gradient beyond its bound.
        """
        scores: Tensor = self.score(torch.cat([words[:, 0], patches[:, 0]], dim=1))
        return scores


def inner_words(mask: Tensor) -> Tensor:
    """Words proper: a text's tokens without [CLS], [SEP] and padding.

    Args:
        mask: (B, L) bool, true on tokens, which padding follows.

    Returns:
        (B, L) bool; a row is false throughout where the text is empty.
    """
    inner = mask.clone()
    inner[:, 0] = False
    # [SEP] is each row's last token; a row without any token has none, and is false already.
    last = (mask.sum(1, keepdim=True) - 1).clamp_min(0)
    return inner.scatter(1, last, False)
