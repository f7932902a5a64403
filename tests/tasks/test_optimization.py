"""Which parameters decay, and the learning rate at every step."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from amif_lightning.models.fusion import CoAttention
from amif_lightning.models.knowledge import GatedCrossAttention
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import ConvTower
from amif_lightning.tasks.optimization import (
    adamw_with_cosine,
    cosine_with_warmup,
    parameter_groups,
)

STEPS, WARMUP, LR, LEAST = 50, 0.2, 2e-3, 1e-6
SAME = {"heads": 1.0}


def model() -> nn.Module:
    return nn.ModuleDict(
        {
            "vision": ConvTower(32, (8, 8, 8, 8)),
            "text": TextEncoder("small", width=8, layers=1, heads=2, table_size=20),
            "fusion": CoAttention(8, 8, 8, 1, 2),
            "knowledge": GatedCrossAttention(8, 2),
        }
    )


def test_norms_and_biases_do_not_decay_and_everything_else_does() -> None:
    whole = model()
    groups = parameter_groups(whole.named_parameters(), 1e-3, SAME, 0.05)
    names = {id(p): n for n, p in whole.named_parameters()}
    decay = {g["weight_decay"]: {names[id(p)] for p in g["params"]} for g in groups}
    assert set(decay) == {0.05, 0.0}
    norms = {
        f"{name}.{part}"
        for name, module in whole.named_modules()
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d)
        for part in ("weight", "bias")
    }
    biases = {name for name, _ in whole.named_parameters() if name.endswith("bias")}
    assert len(norms) > 20
    assert decay[0.0] == norms | biases
    assert decay[0.05] == set(names.values()) - norms - biases
    torch.optim.AdamW(groups, lr=1e-3)  # no parameter is in both groups


def test_frozen_parameters_are_left_out() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    groups = parameter_groups(layer.named_parameters(), 1e-3, SAME, 0.1)
    assert [group["params"] for group in groups] == [[], [layer.bias]]


def test_each_part_has_its_rate_and_keeps_it_relative_to_the_others() -> None:
    whole = model()
    factors = {"vision": 0.5, "text": 1.0, "fusion": 5.0, "heads": 5.0}
    groups = parameter_groups(whole.named_parameters(), LR, factors, 0.05)
    assert [g["lr"] for g in groups] == [f * LR for f in (0.5, 0.5, 1, 1, 5, 5)]
    names = {id(p): n.partition(".")[0] for n, p in whole.named_parameters()}
    parts = [{names[id(p)] for p in g["params"]} for g in groups]
    new = {"fusion", "knowledge"}
    assert parts == [{"vision"}, {"vision"}, {"text"}, {"text"}, new, new]
    optimizer, plain = torch.optim.AdamW(groups, lr=LR), rates(schedule(), STEPS)
    scheduler = cosine_with_warmup(optimizer, STEPS, WARMUP, LEAST, LR)
    for step in range(STEPS):
        optimizer.step()
        scheduler.step()
        expected = plain[step + 1]
        factor = [group["lr"] / expected for group in optimizer.param_groups]
        assert factor == pytest.approx([0.5, 0.5, 1, 1, 5, 5])


def schedule(
    steps: int = STEPS, warmup: float = WARMUP, lr: float = LR, least: float = LEAST
) -> LambdaLR:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(parameter_groups(layer.named_parameters(), lr, SAME, 0.1), lr=lr)
    return cosine_with_warmup(optimizer, steps, warmup, least, lr)


def rates(scheduler: LambdaLR, steps: int) -> list[float]:
    """The rate of every optimizer step, then the one that a further step would have."""
    found = []
    for _ in range(steps):
        first, second = map(float, scheduler.get_last_lr())
        assert first == second  # both groups move together
        found.append(first)
        scheduler.optimizer.step()
        scheduler.step()
    return [*found, float(scheduler.get_last_lr()[0])]


def test_start_end_of_warm_up_middle_and_end() -> None:
    found = rates(schedule(), STEPS)
    rising = 10
    assert found[0] == pytest.approx(LR / rising)  # the first step already learns
    assert found[4] == pytest.approx(LR / 2)
    assert found[rising - 1] == pytest.approx(LR)
    assert max(found) == pytest.approx(LR)
    assert found[30] == pytest.approx((LR + LEAST) / 2)  # half of the cosine
    assert found[STEPS] == pytest.approx(LEAST)
    assert all(b > a for a, b in pairwise(found[:rising]))
    assert all(b < a for a, b in pairwise(found[rising:]))
    for step in range(rising, STEPS):
        angle = math.pi * (step - rising) / (STEPS - rising)
        assert found[step] == pytest.approx(LEAST + (LR - LEAST) * (1 + math.cos(angle)) / 2)


@pytest.mark.parametrize(
    ("warmup", "step", "rate"),
    [(0.0, 0, LR), (1.0, STEPS - 1, LR), (1.0, STEPS // 2 - 1, LR / 2), (WARMUP, STEPS + 7, LEAST)],
)
def test_the_ends_of_warm_up_and_run(warmup: float, step: int, rate: float) -> None:
    assert rates(schedule(warmup=warmup), STEPS + 7)[step] == pytest.approx(rate)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_very_short_runs_have_a_rate(steps: int) -> None:
    assert all(0 < rate <= LR * (1 + 1e-9) for rate in rates(schedule(steps=steps), 3)[:-1])


@pytest.mark.parametrize(
    ("precision", "clip", "fused"),
    [
        ("32-true", 1.0, True),
        ("bf16-mixed", 1.0, False),
        ("16-mixed", 0.5, False),
        ("bf16-mixed", None, True),
    ],
)
def test_adamw_is_fused_where_gradients_can_be_clipped(
    precision: str, clip: float | None, fused: bool
) -> None:
    trainer: Any = SimpleNamespace(
        precision=precision,
        gradient_clip_val=clip,
        ckpt_path=None,
        max_epochs=1,
        estimated_stepping_batches=10,
    )
    groups = [{"params": [nn.Parameter(torch.ones(3))], "lr": LR}]
    built = adamw_with_cosine(groups, trainer, LR, LEAST, WARMUP, (0.9, 0.98))
    assert built["optimizer"].defaults["fused"] is fused
