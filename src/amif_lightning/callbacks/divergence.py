"""Stop a run at the first loss that is not finite, before its weights reach a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from amif_lightning.data.files.atomic import write_atomically
from amif_lightning.errors import UserError

#: File in the run folder that names the samples of the first batch without a finite loss.
BATCH_FILE = "non-finite-batch.json"


class DivergenceGuard(Callback):
    """Stop training at a loss of NaN or infinity, and keep the last good checkpoint.

    One process on a CPU checks after each batch. Otherwise a check waits for the device and the
    other processes, so it runs every ``every`` batches and before validations and checkpoints.

    Args:
        folder: The run folder.
        every: Batches between two checks, 1 or more.
    """

    def __init__(self, folder: str | Path, every: int = 50) -> None:
        self._folder, self._every = Path(folder), every
        self._unchecked: list[tuple[int, int, list[str], Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether the loss is finite."""
        loss = (outputs or {}).get("loss")
        if loss is None:  # the task skipped the batch
            return
        ids = getattr(batch, "question_ids", None) or getattr(batch, "study_ids", None) or []
        finite = torch.isfinite(loss.detach()).all()
        self._unchecked.append((trainer.global_step, trainer.current_epoch, ids, finite))
        cheap = loss.device.type == "cpu" and trainer.world_size == 1
        if cheap or len(self._unchecked) >= self._every:
            self._check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before scores choose a checkpoint."""
        self._check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raise a UserError if a loss or weight is not finite, before a checkpoint is replaced."""
        self._check(trainer)
        for name, value in checkpoint["state_dict"].items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise UserError(
                    f"{name} is not finite after step {trainer.global_step}: no checkpoint was "
                    "written; start from the last one with a lower model.init_args.lr."
                )

    def _check(self, trainer: Trainer) -> None:
        taken, self._unchecked = self._unchecked, []
        bad = [entry for entry in taken if not entry[3]]
        if trainer.strategy.reduce_boolean_decision(not bad, all=True):
            return
        file, step = self._folder / BATCH_FILE, trainer.global_step
        if trainer.world_size > 1:
            file = file.with_stem(f"{file.stem}-process{trainer.global_rank if bad else '*'}")
        if bad:
            step, epoch, ids, _ = bad[0]
            write_atomically(file, json.dumps({"step": step, "epoch": epoch, "ids": ids}) + "\n")
        raise UserError(
            f"The loss is not finite at step {step} (samples: {file}), so training stopped before "
            "any checkpoint changed: start from the last one with a lower model.init_args.lr, or "
            "set --trainer.gradient_clip_val."
        )
