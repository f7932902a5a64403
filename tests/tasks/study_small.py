"""Set-ups shared by the tests of pre-training: generated studies and the smallest task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amif_lightning.batch import StudyBatch
from amif_lightning.tasks import AMiFPretrain
from data_modules.phantom.module import PhantomStudies
from tests.small import SIZES, SMALL, trainer

#: The local losses of the released code.
RELEASED: dict[str, Any] = {
    "transport": 3.0,
    "transport_loss": "matched",
    "transport_tokens": "fused",
    "negatives": "hard",
    "max_likeness": 1.0,
    "local_view": "first",
}


def phantom_studies(
    root: Path | str, kind: type[PhantomStudies] = PhantomStudies, **options: Any
) -> PhantomStudies:
    """Generated studies for :data:`tests.small.SMALL`, without worker processes."""
    given: dict[str, Any] = {
        "image_size": 32,
        "tokenizer": "words",
        "augmentation": "none",
        "num_workers": 0,
        "batch_size": 6,
        "eval_batch_size": 5,
    }
    return kind(str(root), **(given | SIZES | options))


def pretraining(**options: Any) -> AMiFPretrain:
    """A small task of seeded weights."""
    torch.manual_seed(0)
    return AMiFPretrain(**(SMALL | options))


def first_batch(data: PhantomStudies) -> StudyBatch:
    """Training studies, outside a trainer."""
    data.prepare_data()
    data.setup("fit")
    batch: StudyBatch = next(iter(data.train_dataloader()))
    return batch


class Logged(dict[str, float]):
    """Keeps the values that a task logs outside a trainer."""

    def __init__(self, task: AMiFPretrain) -> None:
        super().__init__()
        task.log = self._keep  # type: ignore[method-assign,assignment]  # no trainer to log to

    def _keep(self, name: str, value: Tensor, **_: Any) -> None:
        self[name] = float(value)


def step(task: AMiFPretrain, batch: StudyBatch, number: int = 0) -> tuple[Tensor, Logged]:
    """Loss and logged values of one training step outside a trainer."""
    logged = Logged(task)
    return task.training_step(batch, number), logged


def fitted(root: Path, task: AMiFPretrain, data: PhantomStudies, **options: Any) -> Any:
    """A trainer that has fitted the task."""
    given = {"max_steps": 1, "num_sanity_val_steps": 0, "limit_val_batches": 0}
    running = trainer(root, **(given | options))
    running.fit(task, datamodule=data)
    return running
