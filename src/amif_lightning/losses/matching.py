"""Hard negatives and matching (paper, hard negatives): G samples in total, B here, N pairs."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

_LEFT_OUT = -100
#: Divisor if there are no pairs; their sum is 0.
LEAST_PAIRS = 1e-6


def negative_log_weights(
    logits: Tensor,
    labels: Tensor,
    same: Tensor,
    max_likeness: float = 1.0,
    same_weight: float = 0.0,
) -> Tensor:
    r"""Compute log weights (G, G) that draw similar samples, but no paraphrases, as negatives.

    .. math:: r_{ij} = q^0_{ij} / \max_k q^0_{ik}, \qquad
              w_{ij} = \mathrm{softmax}(s_i)_j \, (1 - r_{ij}), \qquad
              w_{ij} = 0 \text{ where } E_{ij} \text{ or } r_{ij} \ge \kappa

    q0 are the labels without lambda, the addition for equal samples. With lambda, another study
    with the same teacher vector would keep the weight 1 - exp(-lambda), and a good student at a low
    temperature would still draw it. A kappa below 1 excludes such paraphrases for any logits. Only
    differences of logits matter. The result is float32 or float64, without gradient, and minus
    infinity where w is 0.

    Args:
        logits: (G, G) student's logits s; each row draws a column.
        labels: (G, G) labels q of the same rows, soft or hard.
        same: (G, G) bool E, see :func:`amif_lightning.losses.alignment.same_sample`.
        max_likeness: kappa in (0, 1]; 1 excludes only the row's largest label.
        same_weight: lambda, removed from the labels.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
        labels = labels.to(logits.dtype)
        labels = labels * torch.exp(-same_weight * same.to(labels.dtype))
        likeness = labels / labels.amax(1, keepdim=True)
        weights = logits.log_softmax(1) + (1 - likeness).log()
        return weights.masked_fill(same | (likeness >= max_likeness), -torch.inf)


def gumbel_noise(size: int, seed: int, step: int) -> Tensor:
    """Sample standard Gumbel noise (G, G), float32 on the CPU, equal in all processes."""
    # Python's hash of a tuple differs between versions; the CPU generator is the same everywhere.
    digest = hashlib.sha256(f"{seed}/{step}/{size}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    uniform = torch.rand(size, size, generator=generator, dtype=torch.float32)
    # Not 0: its logarithm would exceed any weight.
    uniform = uniform.clamp_min(torch.finfo(uniform.dtype).tiny)
    return -(-uniform.log()).log()


def draw_negatives(log_weights: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one column per row with probability proportional to the weights (Gumbel-max).

    Both arguments are the same rows (B, G): of :func:`negative_log_weights` and of
    :func:`gumbel_noise`. Returns the columns (B,) long, and (B,) bool: false for rows without an
    admissible column, whose result is arbitrary.
    """
    admissible = log_weights > -torch.inf
    return (log_weights + noise.to(log_weights)).argmax(1), admissible.any(1)


def matching_loss(logits: Tensor, matched: Tensor, valid: Tensor, pairs: Tensor | float) -> Tensor:
    """Compute the image-text matching loss: binary cross-entropy of matched pairs, scalar.

    Args:
        logits: (N, 2) scores of this process's pairs; column 1: matched.
        matched: (N,) bool, true for pairs of one study.
        valid: (N,) bool, false for rows without an admissible negative, which are omitted.
        pairs: Number of valid pairs, the divisor of the sum; without pairs the loss is 0. DDP
            averages gradients over W processes, so give the number in all processes divided by W.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # Masked by a label and not by indexing, which would wait for the GPU.
        labels = matched.long().masked_fill(~valid, _LEFT_OUT)
        total = F.cross_entropy(logits, labels, reduction="sum", ignore_index=_LEFT_OUT)
        return total / torch.as_tensor(pairs, dtype=total.dtype).clamp_min(LEAST_PAIRS)
