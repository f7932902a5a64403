"""A task and a data module that train in milliseconds, for tests of the command line."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from amif_lightning.cli.app import Suite
from amif_lightning.errors import UserError


class ToyTask(L.LightningModule):
    """Base of the toys, as AMiFTask is of the tasks."""

    monitor = "val_loss"
    mode: Literal["min", "max"] = "min"

    def __init__(
        self, lr: float = 0.1, width: int = 4, seed: int = 0, init_from: str | None = None
    ) -> None:
        super().__init__()
        if width > 64:
            raise UserError("model.width is above 64: give a smaller one.")
        if width == 13:
            raise ValueError("a bug in a constructor")
        self.save_hyperparameters()
        self.lr, self.seed, self.untrained = lr, seed, False
        self.init_from = init_from
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.layers(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        # A score that is best in the first epoch: `last` must move on all the same.
        self.log("val_loss", float(self.current_epoch))

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test_loss", nn.functional.mse_loss(self.layers(batch[0]), batch[1]))

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self.layers(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Classifier(ToyTask):
    """The task that configurations name."""


class Interrupted(ToyTask):
    """Meets Ctrl-C at the start of its second epoch."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt


class Terminated(ToyTask):
    """Meets SIGTERM at the start of its second epoch."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)


class Broken(ToyTask):
    """Has a bug."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        raise ZeroDivisionError("a bug")


@dataclass
class ToyAudit:
    """The part of an audit that the command line uses."""

    clean: bool
    failed: bool

    def to_text(self) -> str:
        return f"clean: {self.clean}"

    def to_json(self) -> str:
        return json.dumps({"clean": self.clean})


class ToyData(L.LightningDataModule):
    """Base of the toys, as VQADataModule is of the data modules."""

    def __init__(
        self,
        root: str = "nowhere",
        protocol: Literal["clean", "literature"] = "clean",
        batch_size: int = 4,
        lr_like: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root, self.protocol, self.batch_size, self.seed = root, protocol, batch_size, seed
        self.lr_like = lr_like

    def setup(self, stage: str) -> None:
        if self.root == "missing":
            raise UserError("the folder missing holds no data: give --data.root.")

    def _loader(self) -> DataLoader[Any]:
        x = torch.linspace(-1, 1, 24).reshape(8, 3)
        return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader

    def audit(self, check_images: bool = True) -> ToyAudit:
        clean = self.root != "leaky"
        return ToyAudit(clean, self.root == "blind" or (self.protocol == "clean" and not clean))


class Toys(ToyData):
    """The data class that configurations name; passes the base's arguments on."""

    def __init__(self, studies: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.studies = studies


class ToyRecords(L.Callback):
    """Writes a record into the run folder, as the suite's own does."""

    def __init__(self, experiment: str, seed: int, folder: str, config: dict[str, Any]) -> None:
        self.experiment, self.seed, self.folder = experiment, seed, Path(folder)
        self.config = config

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        record = {
            "experiment": self.experiment,
            "seed": self.seed,
            "config": self.config,
            "untrained": pl_module.untrained,
            "test_loss": float(trainer.callback_metrics["test_loss"]),
        }
        (self.folder / "result-test.json").write_text(json.dumps(record))


class ToyImages(L.Callback):
    """A callback whose argument users may set."""

    def __init__(self, samples: int = 8) -> None:
        self.samples = samples


def toy_suite() -> Suite:
    callbacks: dict[str, type[L.Callback]] = {"answer_images": ToyImages}
    return Suite(ToyTask, ToyData, ToyRecords, callbacks, show=lambda folder: print(f"of {folder}"))
