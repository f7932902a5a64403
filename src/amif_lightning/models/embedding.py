"""One vector for a whole image or text: what the global alignment compares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def global_embedding(projection: nn.Module, states: Tensor) -> Tensor:
    """Project the first token of each sample and scale it to unit norm (paper, global alignment).

    Args:
        projection: Layer from W to D channels; :class:`CoAttention`'s own projection where both
            stages and the fusion layers share one, as released.
        states: (N, S, W) states of the text encoder ([CLS] first) or tokens of the image tower
            (summary first).

    Returns:
        (N, D) of unit norm, at least float32 whatever the precision of the layers.
    """
    vectors: Tensor = projection(states[:, 0])
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=1)
