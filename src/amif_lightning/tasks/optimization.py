"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float
) -> list[dict[str, object]]:
    """Apply weight decay to trained matrices and kernels, but not to norms and biases."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def cosine_with_warmup(optimizer: Optimizer, steps: int, warmup: float, min_lr: float) -> LambdaLR:
    """Raise the rate linearly over a share of all ``steps``, then lower it by half a cosine."""
    highest = float(optimizer.param_groups[0]["lr"])
    rising = max(1, round(steps * warmup))
    lowest = min_lr / highest

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        progress = min(1.0, (step - rising) / max(1, steps - rising))
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
