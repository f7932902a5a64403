"""The pointer loss: the question's attention on the vocabulary should be on its answer's entries.

Letters used in shapes: B questions, N entries of the answer vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_mass(log_attention: Tensor, entries: Tensor) -> Tensor:
    r"""Logarithm of the attention on the answer's entries, log sum over n in A of a_n.

    Args:
        log_attention: (B, N) logarithms of weights a that sum to 1.
        entries: (B, N) bool, the entries that are in the answer.

    Returns:
        (B,) at most 0; exactly 0, without gradient, where the answer has no entry.
    """
    chosen = log_attention.masked_fill(~entries, -torch.inf)
    known = entries.any(1)
    # A row of -inf alone would have NaN for a gradient.
    chosen = torch.where(known[:, None], chosen, torch.zeros_like(chosen))
    return chosen.logsumexp(1).where(known, 0.0)


def pointer_loss(log_attention: Tensor, entries: Tensor) -> tuple[Tensor, Tensor]:
    r"""Sum of -log(attention on the answer's entries), and the number of answers with an entry.

    0 where all attention is on entries of the answer; log(N / |A|) where it is even. An answer
    without an entry counts in neither number. A sum, so that processes with unequal numbers can
    divide by that of all. Nothing in the paper's loss asks the attention to select; this does
    (docs/fidelity.md).

    Args:
        log_attention: (B, N) as for :func:`log_mass`.
        entries: (B, N) as for :func:`log_mass`.

    Returns:
        Two scalars, the first with gradient.
    """
    return -log_mass(log_attention, entries).sum(), entries.any(1).sum(dtype=torch.float32)
