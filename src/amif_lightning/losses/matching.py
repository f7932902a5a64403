"""Hard negatives drawn from the global batch, and image-text matching (paper, hard negatives).

Letters used in shapes: G samples of the global batch, B of this process, N pairs.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

_LEFT_OUT = -100
#: Divisor of a sum over no pair, which is 0 and stays 0 over it.
LEAST_PAIRS = 1e-6


def negative_log_weights(
    logits: Tensor,
    labels: Tensor,
    same: Tensor,
    max_likeness: float = 1.0,
    same_weight: float = 0.0,
) -> Tensor:
    r"""Log of the weights that each row draws its negative with: alike, but not a paraphrase.

    .. math:: r_{ij} = q^0_{ij} / \max_k q^0_{ik}, \qquad
              w_{ij} = \mathrm{softmax}(s_i)_j \, (1 - r_{ij}), \qquad
              w_{ij} = 0 \text{ where } E_{ij} \text{ or } r_{ij} \ge \kappa

    q0 are the labels without what they add to equal samples (lambda). With lambda left in, another
    study with the very same teacher's vector keeps 1 - exp(-lambda) of its weight, and a good
    student at a low temperature draws it all the same: its logits outweigh that factor. A share
    kappa below 1 keeps such paraphrases out whatever the logits. Logits of any sign and size will
    do, for only their differences count. No graph is built: a draw has no gradient.

    Args:
        logits: (G, G) student's logits s, the drawing modality in rows.
        labels: (G, G) labels q of the same rows, soft or hard.
        same: (G, G) bool E, the pairs that are no negatives.
        max_likeness: kappa in (0, 1]; at 1 only the row's most alike are kept out.
        same_weight: lambda, taken out of the labels; 0 leaves them as they are.

    Returns:
        (G, G) float32 or float64, minus infinity where the weight is 0.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
        labels = labels.to(logits.dtype)
        labels = labels * torch.exp(-same_weight * same.to(labels.dtype))
        likeness = labels / labels.amax(1, keepdim=True)
        weights = logits.log_softmax(1) + (1 - likeness).log()
        return weights.masked_fill(same | (likeness >= max_likeness), -torch.inf)


def gumbel_noise(size: int, seed: int, step: int) -> Tensor:
    """Standard Gumbel noise (G, G) of one draw, float32 on the CPU and equal in all processes.

    Args:
        size: G.
        seed: The run's seed.
        step: The training step; with the seed it makes a generator of its own.
    """
    # A digest, for Python's own hash of a tuple differs between versions; on the CPU, whose
    # generator gives the same numbers beside any accelerator.
    digest = hashlib.sha256(f"{seed}/{step}/{size}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    uniform = torch.rand(size, size, generator=generator, dtype=torch.float32)
    # Never 0, whose logarithm would decide the draw against any weight.
    uniform = uniform.clamp_min(torch.finfo(uniform.dtype).tiny)
    return -(-uniform.log()).log()


def draw_negatives(log_weights: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one column for each row with probability proportional to the weights (Gumbel-max).

    Args:
        log_weights: (B, G) see :func:`negative_log_weights`; all rows, or those of a process.
        noise: (B, G) the same rows of :func:`gumbel_noise`.

    Returns:
        (B,) long columns, and (B,) bool, false where a row has no admissible column (its index is
        then arbitrary).
    """
    admissible = log_weights > -torch.inf
    return (log_weights + noise.to(log_weights)).argmax(1), admissible.any(1)


def matching_loss(logits: Tensor, matched: Tensor, valid: Tensor, pairs: Tensor | float) -> Tensor:
    """Image-text matching: cross-entropy of "belong together" against "do not".

    Args:
        logits: (N, 2) scores of this process's pairs; column 1 says that they belong together.
        matched: (N,) bool, true for pairs of one study.
        valid: (N,) bool, false for rows that had no admissible negative; they count nothing.
        pairs: Number of valid pairs that the sum is divided by. Under DDP, which averages gradients
            over W processes: the number in all processes divided by W.

    Returns:
        Scalar; no pair at all gives 0.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # Left out by a label, not by indexing: how many are left is known on the GPU only.
        labels = matched.long().masked_fill(~valid, _LEFT_OUT)
        total = F.cross_entropy(logits, labels, reduction="sum", ignore_index=_LEFT_OUT)
        # 0 pairs have a sum of 0, which stays 0 over anything but 0.
        return total / torch.as_tensor(pairs, dtype=total.dtype).clamp_min(LEAST_PAIRS)
