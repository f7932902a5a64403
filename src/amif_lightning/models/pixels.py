"""The pixel statistics that an image tower's weights expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amif_lightning.batch import CLIP_MEAN, CLIP_STD


class Renormalise(nn.Module):
    """Map images normalised with CLIP's statistics, as in every batch, to other statistics.

    Checkpoints contain both buffers. In a checkpoint without them the tower was trained on images
    with CLIP's statistics, so it keeps them.

    Args:
        mean: Mean of red, green and blue, on a scale of 0 to 1.
        std: Standard deviations, above 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        given, own = torch.tensor([CLIP_MEAN, CLIP_STD]), torch.tensor([[*mean], [*std]])
        self.register_buffer("scale", (given[1] / own[1]).view(3, 1, 1))
        self.register_buffer("shift", ((given[0] - own[0]) / own[1]).view(3, 1, 1))
        self.scale: Tensor
        self.shift: Tensor
        self.register_load_state_dict_pre_hook(_keep_statistics)

    def forward(self, images: Tensor) -> Tensor:
        """Map (I, 3, H, W) to the same shape."""
        return images * self.scale + self.shift


def renormalise(mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """Return a :class:`Renormalise`, or an identity without buffers for CLIP's statistics."""
    same = tuple(mean) == CLIP_MEAN and tuple(std) == CLIP_STD
    return nn.Identity() if same else Renormalise(mean, std)


def _keep_statistics(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    state.setdefault(f"{prefix}scale", torch.ones(3, 1, 1))
    state.setdefault(f"{prefix}shift", torch.zeros(3, 1, 1))
