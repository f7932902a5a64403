"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from amif_lightning.errors import UserError


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, object]]:
    """Weight decay on matrices and kernels only, not on norms and biases (vectors and scalars)."""
    trained = [parameter for _, parameter in parameters if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def cosine_with_warmup(optimizer: Optimizer, steps: int, warmup: float, min_lr: float) -> LambdaLR:
    """Linear rise to the set rate, then half a cosine down to ``min_lr``.

    Args:
        optimizer: Its present rate is the highest.
        steps: Optimizer steps of the whole run.
        warmup: Share of the steps spent rising, 0 to 1.
        min_lr: Rate at the end.

    Raises:
        UserError: If ``warmup`` is no share, or the rates are not 0 <= ``min_lr`` <= highest > 0.
    """
    highest = float(optimizer.param_groups[0]["lr"])
    if not 0 <= warmup <= 1:
        raise UserError(f"model.init_args.warmup is {warmup}: give a share of the steps, 0 to 1.")
    if not 0 <= min_lr <= highest or not highest > 0:
        raise UserError(
            f"model.init_args.lr is {highest} and min_lr is {min_lr}: give an lr above 0 and a "
            "min_lr between 0 and lr."
        )
    rising = max(1, round(steps * warmup))
    floor = min_lr / highest

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        progress = min(1.0, (step - rising) / max(1, steps - rising))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
