"""Checkpoints: written whole or not at all, also after SIGTERM, and compared before use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from amif_lightning.cli.checkpoints import LastCheckpoint, WholeFileCheckpointIO, check_checkpoint
from amif_lightning.errors import UserError
from tests.resumable import Noting
from tests.small import trainer

ARGUMENTS: dict[str, Any] = {
    "lr": 1e-3,
    "min_lr": 1e-6,
    "warmup": 0.06,
    "betas": (0.9, 0.98),
    "weight_decay": 0.05,
    "dropout": 0.1,
}


def checkpoint(**hyper_parameters: Any) -> dict[str, Any]:
    trained = ARGUMENTS | {"seed": 3, "betas": [0.9, 0.98]} | hyper_parameters
    return {"hyper_parameters": trained, "optimizer_states": [], "lr_schedulers": []}


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, limit_files: Callable[[int], None]) -> None:
    path = tmp_path / "last.ckpt"
    writer = WholeFileCheckpointIO()
    content: dict[str, Any] = {"epoch": 1, "state_dict": {}}
    writer.save_checkpoint(content, path)

    limit_files(200_000)
    full = (
        r"last\.ckpt cannot be written \(File too large; [\d,.]+ MB free\): free disk space there"
    )
    for size in (60_000, 1_000_000):  # bytes of the zip archive are missing, or most of it
        with pytest.raises(UserError, match=full):
            writer.save_checkpoint({"epoch": 2, "weight": torch.zeros(size)}, path)
    assert writer.load_checkpoint(path) == content
    assert [item.name for item in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_is_checked_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFileCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.ones(99)}}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(99).numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt is damaged \(its member archive/data/0"):
        trainer(tmp_path, max_epochs=1, plugins=[WholeFileCheckpointIO()]).fit(
            Noting(), ckpt_path=path
        )
    read: dict[str, Any] = {str(path): {"state_dict": {}}}
    assert WholeFileCheckpointIO(read).load_checkpoint(path) == {"state_dict": {}}
    assert read == {}


@pytest.mark.parametrize(
    ("exception", "training", "processes", "saves"),
    [
        (SIGTERMException(), True, 1, True),
        (SIGTERMException(), True, 2, False),  # another process may be a step behind
        (SIGTERMException(), False, 1, False),  # amid a validation
        (ZeroDivisionError(), True, 1, False),  # a bug must not replace good weights
        (KeyboardInterrupt(), True, 1, False),  # possibly within a step
    ],
)
def test_last_is_written_once_more_after_sigterm_alone(
    tmp_path: Path, exception: BaseException, training: bool, processes: int, saves: bool
) -> None:
    saved: list[str] = []
    trainer: Any = SimpleNamespace(
        training=training,
        world_size=processes,
        global_step=3,
        current_epoch=1,
        fast_dev_run=False,
        sanity_checking=False,
        is_global_zero=True,
        callback_metrics={},
        loggers=[],
        save_checkpoint=lambda path, weights_only: saved.append(path),
    )
    callback = LastCheckpoint(dirpath=tmp_path, filename="last", enable_version_counter=False)
    callback.on_exception(trainer, LightningModule(), exception)
    assert saved == ([str(tmp_path / "last.ckpt")] if saves else [])


@pytest.mark.parametrize("name", ["lr", "min_lr", "warmup", "weight_decay", "betas"])
def test_fit_refuses_what_the_optimizer_state_would_undo(name: str) -> None:
    other = (0.9, 0.999) if name == "betas" else 0.5
    arguments = ARGUMENTS | {name: other}
    with pytest.raises(
        UserError, match=rf"model\.init_args\.{name} is .*init_from x\.ckpt"
    ) as caught:
        check_checkpoint(checkpoint(), "x.ckpt", "fit", 3, arguments)
    assert "\n" not in str(caught.value)
    check_checkpoint(checkpoint(), "x.ckpt", "test", 3, arguments)  # optimises nothing


def test_equal_values_and_those_outside_the_optimizer_pass() -> None:
    check_checkpoint(checkpoint(), "x.ckpt", "fit", 3, ARGUMENTS)
    check_checkpoint(checkpoint(), "x.ckpt", "fit", 3, ARGUMENTS | {"dropout": 0.0})


def test_a_run_from_random_weights_is_not_continued_as_another() -> None:
    given = ARGUMENTS | {"init_from": "pretrained.ckpt"}
    began: dict[str, Any] = checkpoint()
    began["hyper_parameters"] = began["hyper_parameters"] | {"init_from": None}
    with pytest.raises(UserError, match=r"x\.ckpt belongs to a run .*init_from pretrained"):
        check_checkpoint(began, "x.ckpt", "fit", 3, given)
    check_checkpoint(began, "x.ckpt", "test", 3, given)
    began["hyper_parameters"]["init_from"] = "pretrained.ckpt"
    check_checkpoint(began, "x.ckpt", "fit", 3, given)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_another_seed_is_refused(command: str) -> None:
    message = r"trained with seed 3, but --seed_everything is 0: give --seed_everything 3\."
    with pytest.raises(UserError, match=message):
        check_checkpoint(checkpoint(), "x.ckpt", command, 0, ARGUMENTS)


@pytest.mark.parametrize("lacking", ["optimizer_states", "lr_schedulers"])
def test_weights_alone_can_be_scored_and_not_continued(lacking: str) -> None:
    weights = checkpoint()
    del weights[lacking]
    check_checkpoint(weights, "x.ckpt", "test", 3, ARGUMENTS)
    with pytest.raises(UserError, match=r"only weights.*init_from x\.ckpt"):
        check_checkpoint(weights, "x.ckpt", "fit", 3, ARGUMENTS)


@pytest.mark.parametrize("met", range(5))
def test_sigterm_in_an_accumulation_window_loses_no_gradient(met: int, tmp_path: Path) -> None:
    class Terminated(Callback):
        def on_train_batch_start(self, running: Trainer, *_: object) -> None:
            if len(noting.taken) == met:
                os.kill(os.getpid(), signal.SIGTERM)

    def run(module: Noting, *callbacks: Callback, ckpt: Path | None = None) -> None:
        last = LastCheckpoint(dirpath=tmp_path, filename="last", enable_version_counter=False)
        trainer(
            tmp_path,
            max_epochs=3,
            accumulate_grad_batches=3,  # an epoch of four batches ends with a window of one
            limit_val_batches=0,
            enable_checkpointing=True,
            callbacks=[last, *callbacks],
        ).fit(module, ckpt_path=ckpt)

    whole, noting, resumed = Noting(), Noting(), Noting()
    run(whole)
    with pytest.raises(SystemExit):
        run(noting, Terminated())
    run(resumed, ckpt=tmp_path / "last.ckpt")
    assert noting.taken + resumed.taken == whole.taken
    assert torch.equal(resumed.weight, whole.weight)
