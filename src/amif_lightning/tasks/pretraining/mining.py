"""Draw, fuse and score negatives (B pairs here, G in total, L tokens, P patches, D width)."""

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
    """Negatives of this process's rows, as rows of the global batch."""

    texts: Tensor  # (B,) the text drawn for each image
    images: Tensor  # (B,) the image drawn for each text
    valid: Tensor  # (2, B) bool, whether image and text have a negative

    def pairs(self, own: int = 0) -> Tensor:
        """Average over processes the number of valid pairs plus ``own``, scalar."""
        pairs = self.valid.sum(dtype=torch.float32) + own
        processes = world()[1]
        if processes > 1:
            dist.all_reduce(pairs)
        return pairs / processes


@torch.no_grad()
def draw_for_rank(
    weights: tuple[Tensor, Tensor], *, seed: int, step: int, study: Tensor | None = None
) -> Drawn:
    """Draw a text for each image and an image for each text from the global batch.

    All processes generate the noise of the whole batch and use their rows, so the draws do not
    depend on the number of processes.

    Args:
        weights: Log-weights (G, G) of the texts for images and of the images for texts, from
            :func:`even_log_weights` or :func:`hard_log_weights`.
        seed: The run's seed.
        step: Number of the batch in the run.
        study: (G,) long identities that assign the noise to pairs, because the order of the batch
            depends on the number of processes. None: by the order of the batch.
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
    """Return equal log-weights for all pairs (G, G) except those of the same study or text."""
    even = torch.zeros_like(same, dtype=torch.float32).masked_fill(same, -torch.inf)
    return even, even.T


def hard_log_weights(
    logits: Tensor,
    labels: tuple[Tensor, Tensor],
    same: Tensor,
    max_likeness: float,
    same_weight: float,
) -> tuple[Tensor, Tensor]:
    """Apply :func:`negative_log_weights` in both directions; ``logits`` have images in rows."""
    forward, backward = (
        negative_log_weights(scores, side, same, max_likeness, same_weight)
        for scores, side in zip((logits, logits.T), labels, strict=True)
    )
    return forward, backward


def fuse_drawn(fusion: nn.Module, encoded: EncodedPair, drawn: Drawn) -> EncodedPair:
    """Fuse 2B drawn pairs: every image with its drawn text, then every text with its image."""
    states, mask, tokens = encoded.text, encoded.mask, encoded.image
    length = longest(states.shape[1], mask.device)
    every_text = gather_padded(states, length)
    every_mask = gather_padded(mask.long(), length).bool()
    padding = length - states.shape[1]
    # A drawn text has its own mask, not that of the text it replaces. index_select adds the
    # gradients of repeated rows in one order on CPUs.
    text = torch.cat([every_text.index_select(0, drawn.texts), F.pad(states, (0, 0, 0, padding))])
    masks = torch.cat([every_mask[drawn.texts], F.pad(mask, (0, padding))])
    image = torch.cat([tokens, gather(tokens).index_select(0, drawn.images)])
    words, patches = fusion(text, masks, image)
    return EncodedPair(text, image, words, patches, masks)


def score_pairs(
    head: nn.Module, own: EncodedPair, negatives: EncodedPair, drawn: Drawn
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the image-text matching loss of B own pairs and 2B drawn pairs.

    Two statistics are also returned: the share of rows with a negative, and the accuracy. All are
    scaled so that DDP's average over processes is the mean over all pairs.
    """
    size = len(own.mask)
    scores = torch.cat([head(own.words, own.patches), head(negatives.words, negatives.patches)])
    matched = torch.arange(3 * size, device=scores.device) < size
    counted = torch.cat([drawn.valid.new_ones(size), drawn.valid.flatten()])
    pairs = drawn.pairs(own=size)
    right = ((scores.argmax(1) == matched) & counted).sum() / pairs
    health = {"drawn_share": drawn.valid.float().mean(), "matching_accuracy": right}
    return matching_loss(scores, matched, counted, pairs), health
