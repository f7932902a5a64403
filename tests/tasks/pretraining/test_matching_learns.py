"""Matching is learned in the order of the method: encoders are aligned first, then fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from amif_lightning.tasks import AMiFPretrain
from data_modules.phantom.module import PhantomStudies
from tests.small import trainer
from tests.tasks.study_small import phantom_studies

PRIOR = 2 / 3  # two drawn pairs to each own one: the answer "no" to all
SIZE: dict[str, Any] = {
    "vision": "conv",
    "vision_pretrained": None,
    "vision_channels": [24, 48, 96],
    "text": "small",
    "text_layers": 1,
    "image_size": 112,
    "width": 64,
    "heads": 4,
    "fusion_layers": 1,
    "dropout": 0.0,
    "attention": "eager",
    "lr": 2e-3,
    "negatives": "random",
}


class Accuracy(Callback):
    """Training accuracy of matching, step by step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, running: Any, *rest: Any) -> None:
        self.values.append(float(running.callback_metrics.get("train/matching_accuracy", 0.0)))

    @property
    def last(self) -> float:
        """Mean of the last twenty steps."""
        return sum(self.values[-20:]) / 20


def studies(folder: Path) -> PhantomStudies:
    return phantom_studies(
        folder,
        train_studies=200,
        validation_studies=50,
        image_size=112,
        batch_size=32,
        eval_batch_size=50,
        cache_images=True,
    )


def run(data: PhantomStudies, steps: int, **options: Any) -> tuple[Any, Accuracy]:
    torch.manual_seed(0)
    accuracy = Accuracy()
    given = {"max_epochs": -1, "max_steps": steps, "limit_val_batches": 0}
    running = trainer(data.root, num_sanity_val_steps=0, callbacks=[accuracy], **given)
    running.fit(AMiFPretrain(**(SIZE | options)), datamodule=data)
    return running, accuracy


@pytest.mark.slow
def test_matching_learns_after_the_encoders_and_not_with_them(
    tmp_path: Path, two_threads: None
) -> None:
    data = studies(tmp_path / "phantom")
    aligned, _ = run(data, 100, stage="global")
    aligned.save_checkpoint(tmp_path / "global.ckpt")
    _, accuracy = run(data, 100, stage="local", init_from=str(tmp_path / "global.ckpt"))
    assert accuracy.last > 0.75, accuracy.last
    _, joint = run(data, 100, stage="joint")
    # In as many steps from random weights matching has hardly begun.
    assert joint.last < (PRIOR + accuracy.last) / 2 + 0.02
