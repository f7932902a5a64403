"""A script that Lightning's ``ddp`` runs in two processes on the CPU.

``python -m tests.two_processes STAGE,... ROOT OUT [-- COMMAND]...`` saves for each stage the result
of one training step and a validation in both processes as OUT/STAGE.pt, then runs each COMMAND.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from amif_lightning.batch import StudyBatch, Tokens, VQABatch
from amif_lightning.models.words import inner_words
from amif_lightning.tasks import AMiFPretrain, AMiFTask, AMiFVQA
from amif_lightning.tasks.pretraining.mining import Drawn
from tests.small import SMALL, phantom, trainer
from tests.tasks.study_small import RELEASED, phantom_studies

IMAGES = 8  # over all processes
KEPT = ("gradient", "samples", "validated", "logged", "drawn", "spoken")
# A rate so small leaves the weights: the sign of a gradient that is only rounding would decide a
# step of AdamW.
OPTIONS = SMALL | {"image_size": 64, "lr": 1e-12, "min_lr": 0.0}


class FirstStep(Callback):
    """Keeps the gradient of the first step, averaged over processes, and its inputs."""

    def __init__(self) -> None:
        self.gradient: dict[str, Tensor] = {}
        self.samples: list[str] = []
        self.validated: list[str] = []
        self.logged: dict[str, float] = {}
        self.draws = 0
        self.drawn: dict[str, list[int]] = {}  # by draw/study: the text and image that it drew
        self.spoken: list[bool] = []  # for each sample whether its report has words to transport

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Batch normalisation sees its own process's images only, by design.
        assert isinstance(pl_module, AMiFTask)
        pl_module.vision.eval()
        self.samples = ids_of(batch)

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
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.validated += ids_of(batch)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.logged = {name: float(value) for name, value in trainer.callback_metrics.items()}


def ids_of(batch: VQABatch | StudyBatch) -> list[str]:
    """Ids of a batch."""
    return list(batch.question_ids if isinstance(batch, VQABatch) else batch.study_ids)


class Watched(AMiFPretrain):
    """Keeps the drawn negatives by the identity of the studies."""

    kept: FirstStep

    def draw(self, weights: tuple[Tensor, Tensor], study: Tensor | None = None) -> Drawn:
        """As in the task."""
        found = super().draw(weights, study)
        if study is not None:  # else an image is made
            size = len(found.texts)
            mine = study[self.global_rank * size : (self.global_rank + 1) * size].tolist()
            pairs = zip(study[found.texts].tolist(), study[found.images].tolist(), strict=True)
            self.kept.drawn |= {
                f"{self.kept.draws}/{own}": list(pair)
                for own, pair in zip(mine, pairs, strict=True)
            }
            self.kept.draws += 1
        return found


class Silent(Watched):
    """Treats some reports as denials, so that processes count unequal numbers of pairs."""

    def _read_tokens(self, text: Tokens) -> Tensor:
        silent = (text.ids * text.mask).sum(1) % 3 == 0  # by the content of a report, not its place
        return super()._read_tokens(text) & ~silent[:, None]

    def local_losses(self, text: Tokens, *rest: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As in the task."""
        self.kept.spoken = (inner_words(text.mask) & self._read_tokens(text)).any(1).tolist()
        return super().local_losses(text, *rest)


Made = Callable[[Path, int], tuple[AMiFTask, L.LightningDataModule]]


def _answering(images: int = IMAGES, **options: Any) -> Made:
    def made(root: Path, processes: int) -> tuple[AMiFTask, L.LightningDataModule]:
        data = phantom(
            root,
            batch_size=images // processes,
            questions_per_image=3,  # images have one to several questions, so the shares differ
            image_size=64,
            vocabulary_size=6,  # lacks some answers, unequally many in the shares
        )
        L.seed_everything(0, verbose=False)
        return AMiFVQA(**OPTIONS, **options), data

    return made


def _pretraining(kind: type[Watched] = Watched, **options: Any) -> Made:
    def made(root: Path, processes: int) -> tuple[AMiFTask, L.LightningDataModule]:
        data = phantom_studies(root, batch_size=IMAGES // processes, image_size=64)
        L.seed_everything(0, verbose=False)
        return kind(**OPTIONS, **options), data

    return made


STAGES: dict[str, Made] = {
    "answering": _answering(knowledge_supervision=0.5, answer_tags=0.3),
    # More images, so that both processes have questions with the same words.
    "auxiliary": _answering(2 * IMAGES, transport=0.7, image_text=0.3),
    "pretraining": _pretraining(view_transport=0.5),
    "released": _pretraining(**RELEASED),
    "contextual": _pretraining(transport_tokens="contextual", negatives="hard", matching=0.5),
    "fused": _pretraining(transport_tokens="fused", random_share=0.0),
    "matched": _pretraining(stage="global", transport_loss="matched"),
    "silent": _pretraining(Silent, negatives="hard"),
}
# The contrast of few pairs has gradients that cancel: rounding in single precision would show.
DOUBLE = ("silent",)


def first_step(stage: str, root: Path, processes: int) -> FirstStep:
    """One step on the same images, spread over the processes, and a validation."""
    task, data = STAGES[stage](root, processes)
    step = FirstStep()
    if isinstance(task, Watched):
        task.kept = step
    trainer(
        root,
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        precision="64-true" if stage in DOUBLE else "32-true",
        max_steps=1,
        val_check_interval=1,
        num_sanity_val_steps=0,
        callbacks=[step],
    ).fit(task, datamodule=data)
    return step


def _script(stages: list[str], root: Path, out: Path, words: list[str]) -> int:
    from amif_lightning.cli import main

    for stage in stages:
        mine = first_step(stage, root, 2)
        shares: list[Any] = [None, None]
        kept = {name: getattr(mine, name) for name in KEPT}
        torch.distributed.all_gather_object(shares, kept)
        if torch.distributed.get_rank() == 0:
            torch.save(shares, out / f"{stage}.pt")
    commands = [list(given) for split, given in groupby(words, "--".__eq__) if not split]
    return max((main(command) for command in commands), default=0)


if __name__ == "__main__":
    sys.exit(_script(sys.argv[1].split(","), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
