"""A task that records what it is given, and a checkpoint callback, for both kinds of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from amif_lightning.batch import StudyBatch, VQABatch
from tests import small

#: Epoch, batch, ids, and a sum of the augmented pixels.
Step = tuple[int, int, tuple[str, ...], float]


def ids_of(batch: VQABatch | StudyBatch) -> list[str]:
    return batch.question_ids if isinstance(batch, VQABatch) else batch.study_ids


class Recorder(L.LightningModule):
    """Learns nothing and records the rows of each step; writes them to ``folder`` if given."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder, self.layer = folder, torch.nn.Linear(1, 1)
        self.trained: list[Step] = []
        stages = ("validate", "test", "control", "blank", "predict")
        self.seen: dict[str, list[str]] = {stage: [] for stage in stages}

    def training_step(self, batch: VQABatch | StudyBatch, batch_idx: int) -> Tensor:
        images = batch.images if isinstance(batch, VQABatch) else batch.first + 2 * batch.second
        pixels = round(float(images.double().sum()), 2)
        self.trained.append((self.current_epoch, batch_idx, tuple(ids_of(batch)), pixels))
        loss: Tensor = self.layer(torch.ones(1, 1)).sum()
        return loss

    def validation_step(self, batch: VQABatch | StudyBatch, batch_idx: int) -> None:
        self.seen["validate"] += ids_of(batch)

    def test_step(
        self, batch: VQABatch | StudyBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.seen[("test", "control", "blank")[dataloader_idx]] += ids_of(batch)

    def predict_step(self, batch: VQABatch | StudyBatch, batch_idx: int) -> None:
        self.seen["predict"] += ids_of(batch)

    def on_fit_end(self) -> None:
        self._write("fit", self.trainer.train_dataloader)

    def on_test_end(self) -> None:
        self._write("test", self.trainer.test_dataloaders)

    def _write(self, stage: str, loaders: Any) -> None:
        if self.folder is not None:
            loader = loaders[0] if isinstance(loaders, list) else loaders
            sampler = type(loader.sampler).__name__
            found = {"trained": self.trained, "seen": self.seen, "sampler": sampler}
            (self.folder / f"{stage}{self.global_rank}.json").write_text(json.dumps(found))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(root: Path, *callbacks: Callback, **options: Any) -> L.Trainer:
    given = {"max_epochs": 3, "num_sanity_val_steps": 0, "limit_val_batches": 0} | options
    return small.trainer(root, callbacks=list(callbacks), **given)


class SaveAt(Callback):
    """Saves one checkpoint in a hook after a number of optimizer steps."""

    def __init__(self, hook: str, step: int, path: Path) -> None:
        self.hook, self.step, self.path, self.saved = hook, step, path, False

    def _at(self, hook: str, trainer: L.Trainer) -> None:
        if hook == self.hook and trainer.global_step == self.step and not self.saved:
            self.saved = True
            trainer.save_checkpoint(self.path)

    def on_train_batch_start(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("batch start", trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("batch end", trainer)

    def on_validation_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("validation end", trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("epoch end", trainer)
