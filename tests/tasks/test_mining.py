"""Scoring true and drawn pairs."""

from __future__ import annotations

import torch

from amif_lightning.models.fusion import CoAttention
from amif_lightning.models.matching import MatchingHead
from amif_lightning.tasks.base import Streams
from amif_lightning.tasks.mining import score_pairs

B, L, P1, WIDTH = 64, 12, 65, 64


def test_gradients_of_what_several_draw_are_the_same_every_time(two_threads: None) -> None:
    """All draw from few rows, whose gradients are sums: what is added in any order shows."""
    torch.manual_seed(0)
    fusion, head = CoAttention(WIDTH, WIDTH, WIDTH, 1, 2, 0.0), MatchingHead(WIDTH)
    text = torch.randn(B, L, WIDTH, requires_grad=True)
    image = torch.randn(B, P1, WIDTH, requires_grad=True)
    mask, valid = torch.ones(B, L, dtype=torch.bool), torch.ones(2, B, dtype=torch.bool)
    texts, images = torch.randint(0, 4, (2, B))

    def gradients() -> bytes:
        words, patches = fusion(text, mask, image)
        loss, _ = score_pairs(
            fusion, head, Streams(text, image, words, patches, mask), texts, images, valid
        )
        return b"".join(part.numpy().tobytes() for part in torch.autograd.grad(loss, (text, image)))

    assert len({gradients() for _ in range(12)}) == 1
