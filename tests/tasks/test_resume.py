"""A resumed run takes the same batches as an uninterrupted one, however its length is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger

from tests.resumable import STEPS, Noting, Taken
from tests.small import trainer

LENGTHS: dict[str, dict[str, Any]] = {
    "epochs": {"max_epochs": 4},
    "steps": {"max_steps": 4 * STEPS, "max_epochs": -1},
    "both": {"max_steps": 4 * STEPS - 1, "max_epochs": 9},
}
VALIDATIONS: dict[str, dict[str, Any]] = {
    "each epoch": {},
    "each second epoch": {"check_val_every_n_epoch": 2},
    "twice an epoch": {"val_check_interval": 2},
    "each third step": {"val_check_interval": 3, "check_val_every_n_epoch": None},
}


class _Steps(Logger):
    """Compare the step of each logged value with the optimizer's step."""

    name, version = "steps", 0

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "taken" in metrics:
            assert metrics["taken"] == step


class _Stop(Callback):
    def __init__(self, step: int, batches: int) -> None:
        self.step, self.batches = step, batches

    def on_train_batch_start(self, trainer: L.Trainer, module: Noting, *_: Any) -> None:  # type: ignore[override]  # the only module here
        if trainer.global_step == self.step or len(module.taken) == self.batches:
            raise InterruptedError


def _run(
    folder: Path,
    length: dict[str, Any],
    stop: int = -1,
    ckpt: Path | None = None,
    workers: int = 0,
    batches: int = -1,
) -> Taken:
    module = Noting(workers)
    savers = [
        ModelCheckpoint(
            folder, filename="best", monitor="score", save_top_k=1, enable_version_counter=False
        ),
        ModelCheckpoint(
            folder,
            filename="last",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
            every_n_epochs=1,
        ),
    ]
    running = trainer(
        folder,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=_Steps(),
        enable_checkpointing=True,
        callbacks=[*savers, _Stop(stop, batches)],
        **length,
    )
    try:
        running.fit(module, ckpt_path=ckpt)
    except InterruptedError:
        assert max(stop, batches) >= 0
    return module.taken


@pytest.mark.parametrize("validation", list(VALIDATIONS))
@pytest.mark.parametrize("length", list(LENGTHS))
@pytest.mark.parametrize("name", ["last", "best"])
def test_a_resumed_run_takes_the_batches_of_the_uninterrupted_one(
    length: str, validation: str, name: str, tmp_path: Path
) -> None:
    options = LENGTHS[length] | VALIDATIONS[validation]
    whole = _run(tmp_path / "whole", options)
    for stop in (4, 5, 7, 8):
        folder = tmp_path / str(stop)
        taken = _run(folder, options, stop)
        assert taken == whole[:stop]
        ckpt = folder / f"{name}.ckpt"
        if not ckpt.exists():  # no validation yet
            continue
        saved = int(torch.load(ckpt, weights_only=True)["global_step"])
        again = _run(folder, options, stop + 2, ckpt)
        assert again == whole[saved : stop + 2]
        # A second interruption in the same or the next epoch.
        saved = int(torch.load(folder / "last.ckpt", weights_only=True)["global_step"])
        assert _run(folder, options, ckpt=folder / "last.ckpt") == whole[saved:]


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("length", list(LENGTHS))
def test_a_window_that_a_checkpoint_interrupts_is_taken_again(
    length: str, interval: int, tmp_path: Path
) -> None:
    options = LENGTHS[length] | {"accumulate_grad_batches": 2, "val_check_interval": interval}
    whole = _run(tmp_path / "whole", options)
    for batches in range(1, 9):
        folder = tmp_path / str(batches)
        assert _run(folder, options, batches=batches) == whole[:batches]
        for name in ("last", "best"):
            ckpt = folder / f"{name}.ckpt"
            if ckpt.exists():
                saved = int(torch.load(ckpt, weights_only=True)["global_step"])
                start = next(i for i, (step, *_) in enumerate(whole) if step == saved)
                assert _run(tmp_path / "again", options, ckpt=ckpt) == whole[start:]


@pytest.mark.parametrize(("before", "after"), [(0, 2), (1, 0), (2, 1)])
def test_workers_may_change(before: int, after: int, tmp_path: Path) -> None:
    options = LENGTHS["steps"]
    whole = _run(tmp_path / "whole", options)
    assert _run(tmp_path, options, 6, workers=before) == whole[:6]
    assert _run(tmp_path, options, ckpt=tmp_path / "last.ckpt", workers=after) == whole[4:]
