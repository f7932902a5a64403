"""Checkpoint files: writing, and comparison with the configuration."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from amif_lightning.checkpoint_file import is_address, read_checkpoint
from amif_lightning.data.files.atomic import replacing
from amif_lightning.errors import UserError
from amif_lightning.tasks.checkpoints import check_stage

# Arguments that the optimizer and scheduler states restore, or that were computed from them.
# Lightning loads these states after `configure_optimizers`, so other values would be ignored. The
# number of steps is not among them: the schedule is built anew from the configuration.
_OF_THE_OPTIMIZER = ("lr", "min_lr", "warmup", "betas", "weight_decay")


class LastCheckpoint(ModelCheckpoint):
    """Keep ``last.ckpt``, and write it once more if SIGTERM ends the training.

    Clusters send SIGTERM, and Lightning stops after the current batch. A single process first
    completes the optimizer step: checkpoints do not contain gradients of an unfinished accumulation
    window.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Postpone SIGTERM to the end of the optimizer step."""
        super().on_train_start(trainer, pl_module)
        self._postponed: Callable[[], object] | None = None
        lightning = signal.getsignal(signal.SIGTERM)  # restored by Lightning after the run
        in_main_thread = threading.current_thread() is threading.main_thread()
        if trainer.world_size > 1 or not in_main_thread or not callable(lightning):
            return

        def postpone(number: int, frame: FrameType | None) -> None:
            if trainer.training:
                self._postponed = partial(lightning, number, frame)
            else:
                lightning(number, frame)

        signal.signal(signal.SIGTERM, postpone)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Deliver a postponed SIGTERM; Lightning then stops before the next batch."""
        ended = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if self._postponed is not None and ended:
            self._postponed()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save after SIGTERM, unless there are several processes or a validation is running."""
        # Processes may be one step apart, and saving waits for all of them. An interrupted
        # validation has no score to select a checkpoint by.
        between_steps = trainer.training and trainer.world_size == 1
        if isinstance(exception, SIGTERMException) and between_steps:
            self.save_on_exception = True
        super().on_exception(trainer, pl_module, exception)


class WholeFileCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint under a temporary name in its own folder, then rename it; read it checked.

    Lightning writes to the system's temporary folder. If that is on another file system, it then
    copies over the old file, and a crash destroys both.

    Args:
        read: Checkpoints that were read before, by path or address; each is used and removed once.
    """

    def __init__(self, read: dict[str, dict[str, Any]] | None = None) -> None:
        self._read = {} if read is None else read

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return the checkpoint on the CPU; raises as :func:`read_checkpoint`."""
        found = self._read.pop(str(path), None)
        return read_checkpoint(path, mmap=False) if found is None else found

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Save ``checkpoint``; Lightning handles addresses such as ``s3://...``.

        Raises:
            UserError: If the file cannot be written.
        """
        if storage_options is not None or is_address(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        advice = "free disk space there, or choose another folder with --runs"
        # To a stream: given a name, torch reports a full disk as a RuntimeError.
        with replacing(Path(path), advice) as temporary, temporary.open("wb") as stream:
            torch.save(checkpoint, stream)


def check_checkpoint(
    checkpoint: Mapping[str, Any],
    path: str,
    command: str,
    seed: int,
    arguments: Mapping[str, Any],
    stage: str | None = None,
) -> None:
    """Refuse a checkpoint that would override the configuration.

    Args:
        checkpoint: The loaded file; values that it lacks are not compared.
        path: Its path.
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        seed: The configuration's ``--seed_everything``.
        arguments: The configuration's ``model.init_args``.
        stage: The stage of the configuration's task; None: not compared.

    Raises:
        UserError: If the checkpoint is of the other stage or was trained with another seed. For
            ``fit``, also if it has only weights, started from another ``init_from``, or its
            optimizer state restores another value of an argument.
    """
    if stage is not None:
        check_stage(checkpoint, stage, path)
    trained = checkpoint.get("hyper_parameters", {})
    theirs = trained.get("seed", seed)
    if theirs != seed:
        raise UserError(
            f"{path} was trained with seed {theirs}, but --seed_everything is {seed}: give "
            f"--seed_everything {theirs}."
        )
    if command != "fit":
        return
    anew = f"start anew with --model.init_args.init_from {path} and without --ckpt_path"
    if "optimizer_states" not in checkpoint or "lr_schedulers" not in checkpoint:
        raise UserError(
            f"{path} contains only weights (save_weights_only), so training cannot continue from "
            f"it: give another checkpoint, or {anew}."
        )
    start = arguments.get("init_from")
    if start is not None and trained.get("init_from", start) is None:
        raise UserError(
            f"{path} belongs to a run that started from random or hub weights, and a resumed run "
            f"ignores model.init_args.init_from {start}: leave it out, or give another "
            "--experiment."
        )
    for name in _OF_THE_OPTIMIZER:
        if name not in trained or name not in arguments:
            continue
        before, now = _plain(trained[name]), _plain(arguments[name])
        if before != now:
            raise UserError(
                f"model.init_args.{name} is {now}, but the optimizer state of {path} would restore "
                f"{before}: give {before}, or {anew}."
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
