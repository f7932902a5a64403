"""Likelihood of answers under the decoder (paper, section "Answering"); the loss is minus its mean.

An answer of n tokens ``t_1 .. t_n`` is read as ``[BOS] t_1 .. t_n`` and predicted as
``t_1 .. t_n [EOS]``. Every predicted token counts once; candidate ranking
(:mod:`amif_lightning.models.ranking`) sums the same terms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sequence_log_likelihood(
    logits: Tensor, targets: Tensor, mask: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    r"""Log-likelihood of each answer: the sum over its tokens and its end token.

    .. math:: \ell_b = \sum_{t : m_{bt}} (1 - \epsilon) \log p_{bt}(y_{bt})
              + \frac{\epsilon}{V} \sum_{v=1}^{V} \log p_{bt}(v), \qquad p = \mathrm{softmax}(s)

    with logits s, targets y, mask m and label smoothing epsilon. With epsilon 0 this is exactly
    log p(answer). Computed in float32 at least, outside autocast.

    Args:
        logits: (B, T, V) scores of the next token at each position.
        targets: (B, T) integer ids of the next token; any valid id where the mask is False.
        mask: (B, T) bool, True at the answer's tokens and at its end token.
        label_smoothing: Weight in [0, 1) of the uniform distribution in the target.

    Returns:
        (B,) values in float32 (float64 for such logits), at most 0 and not divided by the length.

    Raises:
        ValueError: A shape, the mask's type or the smoothing weight is not as described.
    """
    if logits.ndim != 3 or targets.shape != logits.shape[:2] or mask.shape != targets.shape:
        raise ValueError(
            "expected logits (B, T, V), targets (B, T) and mask (B, T), got "
            f"{tuple(logits.shape)}, {tuple(targets.shape)} and {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool:
        raise ValueError(f"expected a bool mask, got {mask.dtype}")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"expected label_smoothing in [0, 1), got {label_smoothing}")
    with torch.autocast(logits.device.type, enabled=False):
        # cross_entropy's smoothing is the formula above, and it builds no (B, T, V) copy of log p.
        token = -F.cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1),
            targets.flatten(),
            reduction="none",
            label_smoothing=label_smoothing,
        ).view_as(targets)
        # where, not a product: an infinite term under the mask must not become NaN.
        return token.where(mask, token.new_zeros(())).sum(1)
