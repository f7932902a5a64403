"""Hard negatives over all processes: which pairs a process draws, and how they are scored.

Letters used in shapes: B pairs of this process, G of all processes, L tokens, P patches, D width.
"""

from __future__ import annotations

from typing import Literal

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
from amif_lightning.tasks.base import Streams

Negatives = Literal["hard", "random"]


def draw_for_rank(
    logits: Tensor,
    labels: tuple[Tensor, Tensor] | None,
    same: Tensor,
    negatives: Negatives,
    *,
    seed: int,
    step: int,
    study: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Each image draws a text and each text an image, from the global batch.

    All processes make the noise of the whole batch and take their rows of it, so the draws do not
    depend on how many there are.

    Args:
        logits: (G, G) student's logits, images in rows.
        labels: (G, G) labels of images and of texts; None where negatives are random.
        same: (G, G) bool, pairs that are no negatives.
        negatives: ``hard``: alike by the logits and unlike by the labels; ``random``: any other.
        seed: The run's seed.
        step: Number of the batch in the run.
        study: (G,) long identities, which decide what noise a pair is given. So the draws do not
            depend on the order either, which differs between one process and several: each takes
            every n-th sample. None: the order of the batch decides.

    Returns:
        (B,) texts, (B,) images, both as rows of the global batch, and (2, B) bool, whether either
        found a negative.
    """
    rank, processes = world()
    size = len(same) // processes
    mine = slice(rank * size, (rank + 1) * size)
    drawn = []
    for side, scores in enumerate((logits, logits.T)):
        if negatives == "hard":
            if labels is None:
                raise ValueError("hard negatives need labels, and there are none")
            weights = negative_log_weights(scores, labels[side], same)
        else:
            weights = torch.zeros_like(scores).masked_fill(same, -torch.inf)
        noise = gumbel_noise(len(same), seed, 2 * step + side).to(weights.device)
        if study is not None:
            place = study.argsort(stable=True).argsort()
            noise = noise[place][:, place]
        drawn.append(draw_negatives(weights[mine], noise[mine]))
    (texts, found_text), (images, found_image) = drawn
    return texts, images, torch.stack([found_text, found_image])


def score_pairs(
    fusion: nn.Module,
    head: nn.Module,
    streams: Streams,
    texts: Tensor,
    images: Tensor,
    valid: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Image-text matching of the true pairs and of both kinds of drawn pairs.

    Args:
        fusion: The co-attention layers.
        head: Scores fused pairs.
        streams: The true pairs, encoded and fused.
        texts: (B,) the text drawn by each image, a row of the global batch.
        images: (B,) the image drawn by each text, a row of the global batch.
        valid: (2, B) bool, whether either drew one.

    Returns:
        The loss, scaled so that DDP's average over processes is the mean over all pairs; and what
        tells how the mining does, scaled alike: the share of rows that drew a negative, and the
        share of pairs that are told apart.
    """
    states, mask, tokens = streams.text, streams.mask, streams.image
    size, device = len(mask), mask.device
    length = longest(states.shape[1], device)
    every_text = gather_padded(states, length)
    every_mask = gather_padded(mask.long(), length).bool()
    padding = length - states.shape[1]
    # A drawn text comes with its own mask, not with that of the text that it replaces. Rows that
    # several draw are picked by index_select, whose gradient adds in one order on CPUs.
    words, patches = fusion(
        torch.cat([every_text.index_select(0, texts), F.pad(states, (0, 0, 0, padding))]),
        torch.cat([every_mask[texts], F.pad(mask, (0, padding))]),
        torch.cat([tokens, gather(tokens).index_select(0, images)]),
    )
    scores = torch.cat([head(streams.words, streams.patches), head(words, patches)])
    matched = torch.arange(3 * size, device=device) < size
    counted = torch.cat([valid.new_ones(size), valid.flatten()])
    processes = world()[1]
    pairs = counted.sum(dtype=torch.float32)
    if processes > 1:
        dist.all_reduce(pairs)
    pairs = pairs / processes
    right = ((scores.argmax(1) == matched) & counted).sum() / pairs
    health = {"drawn_share": valid.float().mean(), "matching_accuracy": right}
    return matching_loss(scores, matched, counted, pairs), health
