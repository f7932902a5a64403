"""A resumed run takes the same batches as an uninterrupted one, however its length is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger

from amif_lightning.errors import UserError
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
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise InterruptedError


def _run(
    folder: Path, length: dict[str, Any], stop: int = -1, ckpt: Path | None = None, workers: int = 0
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
        callbacks=[*savers, _Stop(stop)],
        **length,
    )
    try:
        running.fit(module, ckpt_path=ckpt)
    except InterruptedError:
        assert stop >= 0
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


@pytest.mark.parametrize(
    ("options", "exact"),
    [
        ({"val_check_interval": 2}, True),
        ({"val_check_interval": 1.0}, True),
        ({"val_check_interval": 3}, False),
        ({"val_check_interval": 1}, False),
        ({"val_check_interval": 6, "check_val_every_n_epoch": None}, True),
        ({"val_check_interval": 2, "check_val_every_n_epoch": None}, True),
        ({"val_check_interval": 3, "check_val_every_n_epoch": None}, False),
        ({"val_check_interval": 2, "limit_train_batches": 3}, True),
        (
            {"val_check_interval": 2, "check_val_every_n_epoch": None, "limit_train_batches": 3},
            False,
        ),
    ],
)
def test_a_validation_interrupts_no_accumulation(
    options: dict[str, Any], exact: bool, tmp_path: Path
) -> None:
    options = LENGTHS["epochs"] | options | {"accumulate_grad_batches": 2}
    if exact:
        _run(tmp_path, options)
    else:
        with pytest.raises(UserError, match="Validations would interrupt"):
            _run(tmp_path, options)


@pytest.mark.parametrize(("before", "after"), [(0, 2), (1, 0), (2, 1)])
def test_workers_may_change(before: int, after: int, tmp_path: Path) -> None:
    options = LENGTHS["steps"]
    whole = _run(tmp_path / "whole", options)
    assert _run(tmp_path, options, 6, workers=before) == whole[:6]
    assert _run(tmp_path, options, ckpt=tmp_path / "last.ckpt", workers=after) == whole[4:]
