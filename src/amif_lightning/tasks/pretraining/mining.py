"""Negatives over all processes: which pairs a process draws, and how they are fused and scored.

Letters used in shapes: B pairs of this process, G of all processes, L tokens, P patches, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from amif_lightning.losses.gather import gather, gather_padded, longest, world
from amif_lightning.losses.matching import (
    draw_negatives,
    gumbel_noise,
    matching_loss,
    negative_log_weights,
)
from amif_lightning.models.fusion import EncodedPair


@dataclass(frozen=True)
class Drawn:
    """The negatives of this process's rows, as rows of the global batch."""

    texts: Tensor  # (B,) the text drawn by each image
    images: Tensor  # (B,) the image drawn by each text
    valid: Tensor  # (2, B) bool, whether the image and the text found one

    def pairs(self, own: int = 0) -> Tensor:
        """Scalar: mean over processes of the number of valid pairs, plus ``own`` ones of each."""
        pairs = self.valid.sum(dtype=torch.float32) + own
        processes = world()[1]
        if processes > 1:
            dist.all_reduce(pairs)
        return pairs / processes


@torch.no_grad()
def draw_for_rank(
    weights: tuple[Tensor, Tensor], *, seed: int, step: int, study: Tensor | None = None
) -> Drawn:
    """Each image draws a text and each text an image, from the global batch.

    All processes make the noise of the whole batch and take their rows of it, so the draws do not
    depend on how many there are.

    Args:
        weights: (G, G) logarithms of the weights that images draw texts with, and texts images;
            see :func:`even_log_weights` and :func:`negative_log_weights`.
        seed: The run's seed.
        step: Number of the batch in the run.
        study: (G,) long identities, which decide what noise a pair is given, since the order
            differs between one process and several. None: the order of the batch decides.
    """
    rank, processes = world()
    count = len(weights[0])
    size = count // processes
    mine = slice(rank * size, (rank + 1) * size)
    drawn = []
    for side, table in enumerate(weights):
        noise = gumbel_noise(count, seed, 2 * step + side).to(table.device)
        if study is not None:
            place = study.argsort(stable=True).argsort()
            noise = noise[place][:, place]
        drawn.append(draw_negatives(table[mine], noise[mine]))
    (texts, found_text), (images, found_image) = drawn
    return Drawn(texts, images, torch.stack([found_text, found_image]))


def even_log_weights(same: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of equal weights for all but the pairs (G, G) that say the same."""
    even = torch.zeros_like(same, dtype=torch.float32).masked_fill(same, -torch.inf)
    return even, even.T


def hard_log_weights(
    logits: Tensor,
    labels: tuple[Tensor, Tensor],
    same: Tensor,
    max_likeness: float,
    same_weight: float,
) -> tuple[Tensor, Tensor]:
    """:func:`negative_log_weights` of both directions; ``logits`` have images in rows."""
    forward, backward = (
        negative_log_weights(scores, side, same, max_likeness, same_weight)
        for scores, side in zip((logits, logits.T), labels, strict=True)
    )
    return forward, backward


def fuse_drawn(fusion: nn.Module, encoded: EncodedPair, drawn: Drawn) -> EncodedPair:
    """Fuse both kinds of drawn pairs.

    Returns:
        2B pairs: every image with the text that it drew, then every text with its drawn image.
    """
    states, mask, tokens = encoded.text, encoded.mask, encoded.image
    length = longest(states.shape[1], mask.device)
    every_text = gather_padded(states, length)
    every_mask = gather_padded(mask.long(), length).bool()
    padding = length - states.shape[1]
    # A drawn text comes with its own mask, not with that of the text that it replaces. Rows that
    # several draw are picked by index_select, whose gradient adds in one order on CPUs.
    text = torch.cat([every_text.index_select(0, drawn.texts), F.pad(states, (0, 0, 0, padding))])
    masks = torch.cat([every_mask[drawn.texts], F.pad(mask, (0, padding))])
    image = torch.cat([tokens, gather(tokens).index_select(0, drawn.images)])
    words, patches = fusion(text, masks, image)
    return EncodedPair(text, image, words, patches, masks)


def score_pairs(
    head: nn.Module, own: EncodedPair, negatives: EncodedPair, drawn: Drawn
) -> tuple[Tensor, dict[str, Tensor]]:
    """Image-text matching of the true pairs and of both kinds of drawn pairs.

    Args:
        head: Scores fused pairs.
        own: B true pairs.
        negatives: 2B drawn pairs, from :func:`fuse_drawn`.
        drawn: Which of them count.

    Returns:
        The loss, scaled so that DDP's average over processes is the mean over all pairs; and what
        tells how the mining does, scaled alike: the share of rows that drew a negative, and the
        share of pairs that are told apart.
    """
    size = len(own.mask)
    scores = torch.cat([head(own.words, own.patches), head(negatives.words, negatives.patches)])
    matched = torch.arange(3 * size, device=scores.device) < size
    counted = torch.cat([drawn.valid.new_ones(size), drawn.valid.flatten()])
    pairs = drawn.pairs(own=size)
    right = ((scores.argmax(1) == matched) & counted).sum() / pairs
    health = {"drawn_share": drawn.valid.float().mean(), "matching_accuracy": right}
    return matching_loss(scores, matched, counted, pairs), health
