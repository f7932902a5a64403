"""A module that notes which batches it took, for tests of interrupted and resumed runs."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from amif_lightning.data.loading.samplers import EpochIndexSampler, position
from amif_lightning.tasks.resume import (
    check_validation_interval,
    complete_finished_epoch,
    continue_logged_steps,
)

#: Batches of an epoch, and samples of a batch.
STEPS, BATCH = 4, 3
#: Step, epoch and samples of each batch.
Taken = list[tuple[int, int, list[int]]]


class _Samples(Dataset[Tensor]):
    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitem__(self, pair: tuple[int, int]) -> Tensor:
        return torch.tensor(pair)


class Noting(L.LightningModule):
    """Note step, epoch and samples of each batch."""

    def __init__(self, workers: int = 0) -> None:
        super().__init__()
        self.weight, self.workers = torch.nn.Parameter(torch.zeros(1)), workers
        self.taken: Taken = []

    def train_dataloader(self) -> DataLoader[Tensor]:
        sampler = EpochIndexSampler(_Samples(), 1, 0, seed=3)
        epoch, done = position(self.trainer, STEPS)
        sampler.set_epoch(epoch)
        sampler.skip = done * BATCH
        persistent = self.workers > 0
        return DataLoader(
            _Samples(),
            BATCH,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=persistent,
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(torch.zeros(4, 2)), 2)

    def on_train_start(self) -> None:
        check_validation_interval(self.trainer)

    def on_train_batch_start(self, *_: object) -> None:
        continue_logged_steps(self.trainer)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        (epoch,) = set(batch[:, 0].tolist())
        assert epoch == self.current_epoch
        self.log("taken", float(self.global_step))
        self.taken.append((self.global_step, epoch, batch[:, 1].tolist()))
        return (self.weight - batch.float().mean()).square().sum()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("score", self.weight)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.max_steps != -1:
            complete_finished_epoch(checkpoint["loops"])
