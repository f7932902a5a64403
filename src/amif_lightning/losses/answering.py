"""Likelihood of answers (B questions, T answer tokens, V tokens) and pointer loss (N entries)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sequence_log_likelihood(
    logits: Tensor, targets: Tensor, mask: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    r"""Compute each answer's log-likelihood, summed over tokens and end token (paper, answering).

    .. math:: \ell_b = \sum_{t : m_{bt}} (1 - \epsilon) \log p_{bt}(y_{bt})
              + \frac{\epsilon}{V} \sum_{v=1}^{V} \log p_{bt}(v), \qquad p = \mathrm{softmax}(s)

    The loss is the negative mean. The input of an answer ``t_1 .. t_n`` is ``[BOS] t_1 .. t_n`` and
    its target ``t_1 .. t_n [EOS]``. With epsilon 0 the value is log p(answer), the score of
    :mod:`amif_lightning.models.ranking`. It is computed in float32 or float64, outside autocast.

    Args:
        logits: (K, V) scores s of the next token at the K positions of the mask, in the order of
            ``hidden[mask]``. Short answers are mostly padding, and the output layer is large.
        targets: (B, T) integer ids y of the next token; any id where the mask is False.
        mask: (B, T) bool m, True at the answer's tokens and at its end token.
        label_smoothing: epsilon in [0, 1), weight of the uniform distribution in the target.

    Returns:
        (B,) values of at most 0, not divided by the length.
    """
    with torch.autocast(logits.device.type, enabled=False):
        # cross_entropy's smoothing is the formula above, without a (K, V) copy of log p.
        token = -F.cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            targets[mask],
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return token.new_zeros(mask.shape).masked_scatter(mask, token).sum(1)


def log_mass(log_attention: Tensor, entries: Tensor) -> Tensor:
    """Compute the log of the attention on the answer's entries, log sum over n in A of a_n: (B,).

    ``log_attention`` (B, N) holds the logarithms of weights a that sum to 1; ``entries`` (B, N)
    bool marks the entries A. The result is exactly 0, without gradient, if an answer has no entry.
    """
    chosen = log_attention.masked_fill(~entries, -torch.inf)
    known = entries.any(1)
    # The gradient of a row of -inf would be NaN.
    chosen = torch.where(known[:, None], chosen, torch.zeros_like(chosen))
    return chosen.logsumexp(1).where(known, 0.0)


def pointer_loss(log_attention: Tensor, entries: Tensor) -> tuple[Tensor, Tensor]:
    """Sum -log(attention on the answer's entries); also return the number of answers with entries.

    Arguments are those of :func:`log_mass`. A term is 0 if all attention is on the answer's
    entries, and log(N / |A|) if attention is uniform. Answers without an entry are omitted.
    Processes divide the sum by their common count. The paper does not supervise this attention
    (docs/fidelity.md).
    """
    return -log_mass(log_attention, entries).sum(), entries.any(1).sum(dtype=torch.float32)
