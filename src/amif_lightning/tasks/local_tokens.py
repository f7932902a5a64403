"""Words and patches for local alignment (B pairs, L tokens, P patches, D width)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amif_lightning.batch import Tokens
from amif_lightning.losses.gather import gather, gather_padded, longest
from amif_lightning.losses.transport import TokenTransport
from amif_lightning.models.fusion import EncodedPair
from amif_lightning.models.words import inner_words
from amif_lightning.tasks.base import AMiFTask


@dataclass(frozen=True)
class LocalTokens:
    """Words and patches of B pairs of a text and an image."""

    words: Tensor  # (B, L, D)
    patches: Tensor  # (B, P, D), without the summary token
    mask: Tensor  # (B, L) bool, true on words

    def moved(self, transport: TokenTransport) -> Tensor:
        """Compute the transport cost (B,)."""
        # Masked words cost as much time as others, so drop as many as possible.
        longest = max(int(self.mask.sum(1).max()), 1)
        order = self.mask.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
        words = self.words.gather(1, order[..., None].expand(-1, -1, self.words.shape[2]))
        mask = self.mask.gather(1, order)
        values: Tensor = transport(words, self.patches, mask, self._every())
        return values

    def plan(self, transport: TokenTransport) -> tuple[Tensor, Tensor]:
        """Compute the refined plan (B, L, P) and its cost (B,)."""
        return transport.plan(self.words, self.patches, self.mask, self._every())

    def rows(self, texts: Tensor, images: Tensor) -> LocalTokens:
        """Pair these rows of texts with these rows of images."""
        # index_select adds the gradients of repeated rows in one order on CPUs.
        return LocalTokens(
            self.words.index_select(0, texts),
            self.patches.index_select(0, images),
            self.mask[texts],
        )

    def halves(self) -> tuple[LocalTokens, LocalTokens]:
        """Split into the first and the second half of the pairs."""
        parts = (tensor.chunk(2) for tensor in (self.words, self.patches, self.mask))
        first, second = zip(*parts, strict=True)
        return LocalTokens(*first), LocalTokens(*second)

    def gathered(self) -> LocalTokens:
        """Gather the tokens of all processes, with gradient."""
        length = longest(self.words.shape[1], self.words.device)
        return LocalTokens(
            gather_padded(self.words, length),
            gather(self.patches),
            gather_padded(self.mask.long(), length).bool(),
        )

    def _every(self) -> Tensor:
        return torch.ones(self.patches.shape[:2], dtype=torch.bool, device=self.patches.device)


def fused_tokens(encoded: EncodedPair) -> LocalTokens:
    """Return words and patches after the fusion layers."""
    return LocalTokens(encoded.words, encoded.patches[:, 1:], inner_words(encoded.mask))


def unfused_tokens(
    task: AMiFTask,
    text: Tokens,
    image: Tensor,
    states: Tensor | None,
    projections: tuple[nn.Module, nn.Module],
    kept: Tensor,
) -> LocalTokens:
    """Return words and patches before fusion, in the space of the global alignment.

    ``text`` has tokens (B, L) and ``image`` is (B, 1 + P, image width). Words are the contextual
    states (B, L, text width), or word embeddings without context if ``states`` is None.
    ``projections`` map texts and images. ``kept`` (B, L) bool is false on words to omit.
    """
    words = task.text.words(text.ids) if states is None else states
    return LocalTokens(
        projections[0](words),
        projections[1](task.vision.patches(image)),
        inner_words(text.mask) & kept,
    )
