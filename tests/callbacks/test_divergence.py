"""A run stops at the first loss that is not finite, and its checkpoints stay good."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from amif_lightning.callbacks.divergence import BATCH_FILE, DivergenceGuard
from amif_lightning.errors import UserError
from tests.resumable import STEPS, Noting
from tests.small import trainer


class _Diverging(Noting):
    """The loss, or else the update, is not finite at one step, counted from 1."""

    def __init__(self, step: int, *, update: bool = False) -> None:
        super().__init__()
        self.step, self.update = step, update

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.global_step + 1 != self.step:
            return loss
        # The square root's value is finite at 0 and its gradient is not.
        return (self.weight * 0).sqrt().sum() if self.update else loss * torch.nan


def _fit(folder: Path, module: Noting) -> None:
    last = ModelCheckpoint(
        folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    trainer(
        folder, max_epochs=3, enable_checkpointing=True, callbacks=[last, DivergenceGuard(folder)]
    ).fit(module)


@pytest.mark.parametrize("step", [STEPS + 1, STEPS + 2, 2 * STEPS])
def test_the_last_good_checkpoint_stays(step: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"not finite at step {step} .*{BATCH_FILE}"):
        _fit(tmp_path, _Diverging(step))
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["global_step"] == STEPS
    assert torch.isfinite(last["state_dict"]["weight"]).all()


def test_weights_that_are_not_finite_reach_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"weight is not finite after step {2 * STEPS}"):
        _fit(tmp_path, _Diverging(2 * STEPS, update=True))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == STEPS


class _Agreement:
    """Two processes, of which the other one's losses are finite or not."""

    def __init__(self, other: bool) -> None:
        self.other, self.asked = other, 0

    def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
        assert all
        self.asked += 1
        return decision and self.other


def _batches(guard: DivergenceGuard, strategy: _Agreement, losses: list[float]) -> None:
    for step, loss in enumerate(losses, 1):
        running: Any = SimpleNamespace(
            world_size=2, global_rank=1, global_step=step, current_epoch=0, strategy=strategy
        )
        batch = SimpleNamespace(question_ids=[f"q{step}"])
        module: Any = None
        guard.on_train_batch_end(running, module, {"loss": torch.tensor(loss)}, batch, step - 1)


def test_processes_check_together_and_name_the_first_bad_batch(tmp_path: Path) -> None:
    strategy, guard = _Agreement(other=True), DivergenceGuard(tmp_path, every=3)
    _batches(guard, strategy, [1.0] * 5)
    assert strategy.asked == 1
    with pytest.raises(UserError, match="at step 2 "):
        _batches(DivergenceGuard(tmp_path, every=3), strategy, [1.0, float("inf"), float("nan")])
    named = json.loads((tmp_path / "non-finite-batch-process1.json").read_text())
    assert named == {"step": 2, "epoch": 0, "ids": ["q2"]}


def test_a_process_stops_with_the_other(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step 3 \(samples: .*-process\*.json"):
        _batches(DivergenceGuard(tmp_path, every=3), _Agreement(other=False), [1.0] * 3)
    assert list(tmp_path.iterdir()) == []
