"""Parameter groups, the learning-rate schedule and its number of steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Trainer
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from amif_lightning.errors import UserError


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    factors: Mapping[str, float],
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Group trained parameters by learning rate, and by weight decay within each rate.

    Norms and biases have no weight decay. ``factors`` are multiples of ``lr`` by module, the first
    part of a name; modules that it lacks have that of ``heads``.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            factor = factors.get(name.partition(".")[0], factors["heads"])
            groups.setdefault(factor, []).append(parameter)
    return [
        {"params": [p for p in group if (p.ndim >= 2) == matrices], "lr": lr * factor, **decay}
        for factor, group in groups.items()
        for matrices, decay in (
            (True, {"weight_decay": weight_decay}),
            (False, {"weight_decay": 0.0}),
        )
    ]


def cosine_with_warmup(
    optimizer: Optimizer, steps: int, warmup: float, min_lr: float, highest: float
) -> LambdaLR:
    """Raise all rates linearly over a share of all ``steps``, then lower them by half a cosine.

    ``highest`` is the rate of a group with factor 1; ``min_lr`` is its last one. The rates of other
    groups keep their ratio to it.
    """
    rising = max(1, round(steps * warmup))
    lowest = min_lr / highest

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        progress = min(1.0, (step - rising) / max(1, steps - rising))
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def adamw_with_cosine(
    groups: list[dict[str, Any]],
    trainer: Trainer,
    lr: float,
    min_lr: float,
    warmup: float,
    betas: tuple[float, float],
) -> dict[str, Any]:
    """Build AdamW and :func:`cosine_with_warmup` for all steps of a run, as Lightning takes them.

    Raises:
        UserError: If the run has no last step.
    """
    # Fused AdamW could unscale gradients itself, so Lightning refuses to clip them before it in
    # mixed precision, also where nothing is scaled.
    clipped = bool(trainer.gradient_clip_val) and trainer.precision.endswith("mixed")
    optimizer = AdamW(groups, lr, betas, fused=not clipped)
    steps = optimizer_steps(trainer)
    if math.isinf(steps):
        raise UserError(
            "The learning rate falls until the last step and this run has none: set "
            "--trainer.max_epochs or --trainer.max_steps."
        )
    scheduler = cosine_with_warmup(optimizer, int(steps), warmup, min_lr, lr)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def optimizer_steps(trainer: Trainer) -> float:
    """Return the optimizer steps of the whole run; infinite without an end."""
    if trainer.ckpt_path is None or trainer.max_epochs in (None, -1):
        return trainer.estimated_stepping_batches
    # That property starts the training loader before the checkpoint's progress is restored,
    # which would restart the resumed epoch. Another loader gives the same number.
    loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]  # Trainer
    limit = trainer.limit_train_batches
    batches = len(loader)
    if isinstance(limit, int):
        batches = min(batches, limit)
    elif limit is not None:
        batches = int(batches * limit)
    epochs = max(int(trainer.max_epochs or 0), 1)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * epochs
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)
