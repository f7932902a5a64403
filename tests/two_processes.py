"""Run as a script, this starts a second process of itself: Lightning's ``ddp`` on the CPU.

``python -m tests.two_processes ROOT OUT COMMAND...`` saves the gradient of one training step over
two processes to OUT, then runs COMMAND of the suite's command line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from amif_lightning.batch import VQABatch
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom

IMAGES = 8  # over all processes
SIZES = {"train_studies": 24, "validation_studies": 8, "test_studies": 8}


class Gradient(Callback):
    """Keeps the gradient of the first step, averaged over processes, and what it was made of."""

    def __init__(self) -> None:
        self.of: dict[str, Tensor] = {}
        self.questions: list[str] = []

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
        self.of = {name: p.grad.clone() for name, p in named if p.grad is not None}


def first_step(root: Path, processes: int) -> Gradient:
    """One step on the same 8 images, spread over the processes."""
    data = Phantom(
        str(root),
        batch_size=IMAGES // processes,
        questions_per_image=3,  # images have one to several questions, so the shares differ
        image_size=64,
        tokenizer="words",
        augmentation="none",
        num_workers=0,
        **SIZES,
    )
    L.seed_everything(0, verbose=False)
    task = AMiFVQA(
        vision="conv",
        vision_pretrained=None,
        text="small",
        text_layers=1,
        image_size=64,
        width=32,
        heads=2,
        fusion_layers=1,
        dropout=0.0,
        attention="eager",
    )
    gradient = Gradient()
    trainer = L.Trainer(
        default_root_dir=root,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        max_steps=1,
        limit_val_batches=0,
        callbacks=[gradient],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=data)
    return gradient


def _script(root: Path, out: Path, command: list[str]) -> int:
    from amif_lightning.cli import main

    mine = first_step(root, 2)
    shares: list[list[str]] = [[], []]
    torch.distributed.all_gather_object(shares, mine.questions)
    if torch.distributed.get_rank() == 0:
        torch.save({"gradient": mine.of, "questions": shares}, out)
    return main(command)


if __name__ == "__main__":
    sys.exit(_script(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
