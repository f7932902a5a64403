"""A task that was trained for one step, and its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from amif_lightning.inference.load import restore
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom
from tests.small import SMALL, phantom, trainer


class Saved(NamedTuple):
    """The data, and the checkpoint of a task that was trained on them."""

    data: Phantom
    path: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("answering")
    torch.manual_seed(0)
    restored = AMiFVQA(**SMALL)
    data = phantom(folder / "phantom", batch_size=8, max_question_tokens=10)
    running = trainer(folder, max_steps=1, limit_val_batches=0)
    running.fit(restored, datamodule=data)
    running.save_checkpoint(folder / "best.ckpt")
    return Saved(data, folder / "best.ckpt")


@pytest.fixture(scope="module")
def restored(saved: Saved) -> AMiFVQA:
    return restore(saved.path, "cpu")
