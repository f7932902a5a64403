"""Run as a script, this starts a second process of itself: Lightning's ``ddp`` on the CPU.

``python -m tests.two_processes ROOT OUT COMMAND...`` saves what each of two processes kept of one
training step and a validation to OUT, then runs COMMAND of the suite's command line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from amif_lightning.batch import VQABatch
from amif_lightning.tasks import AMiFVQA
from tests.small import SMALL, phantom, trainer

IMAGES = 8  # over all processes
KEPT = ("gradient", "questions", "validated", "logged")


class FirstStep(Callback):
    """Keeps the gradient of the first step, averaged over processes, and what it was made of."""

    def __init__(self) -> None:
        self.gradient: dict[str, Tensor] = {}
        self.questions: list[str] = []
        self.validated: list[str] = []
        self.logged: dict[str, float] = {}

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: VQABatch, batch_idx: int
    ) -> None:
        # Batch normalisation sees its own process's pictures only, by design.
        assert isinstance(pl_module, AMiFVQA)
        pl_module.vision.eval()
        self.questions = list(batch.question_ids)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        named = pl_module.named_parameters()
        self.gradient = {name: p.grad.clone() for name, p in named if p.grad is not None}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: VQABatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.validated += batch.question_ids

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.logged = {name: float(value) for name, value in trainer.callback_metrics.items()}


def first_step(root: Path, processes: int) -> FirstStep:
    """One step on the same 8 images, spread over the processes, and a validation."""
    data = phantom(
        root,
        batch_size=IMAGES // processes,
        questions_per_image=3,  # images have one to several questions, so the shares differ
        image_size=64,
    )
    L.seed_everything(0, verbose=False)
    # A rate so small leaves the weights: the sign of a gradient that is only rounding would decide
    # a step of AdamW.
    task = AMiFVQA(**(SMALL | {"image_size": 64, "lr": 1e-12, "least_lr": 0.0}))
    step = FirstStep()
    trainer(
        root,
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        max_steps=1,
        val_check_interval=1,
        num_sanity_val_steps=0,
        callbacks=[step],
    ).fit(task, datamodule=data)
    return step


def _script(root: Path, out: Path, command: list[str]) -> int:
    from amif_lightning.cli import main

    mine = first_step(root, 2)
    shares: list[Any] = [None, None]
    kept = {name: getattr(mine, name) for name in KEPT}
    torch.distributed.all_gather_object(shares, kept)
    if torch.distributed.get_rank() == 0:
        torch.save(shares, out)
    return main(command)


if __name__ == "__main__":
    sys.exit(_script(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
