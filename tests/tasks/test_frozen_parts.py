"""Frozen encoders, rates by part, and averaged weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom
from tests.small import SMALL, phantom, trainer

TIMM: dict[str, Any] = SMALL | {"vision": "timm:test_efficientnet", "image_size": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return phantom(tmp_path_factory.mktemp("frozen") / "phantom", image_size=64)


def changed(data: Phantom, folder: Path, **options: Any) -> tuple[AMiFVQA, set[str]]:
    """Train, and name the tensors that differ from the start."""
    torch.manual_seed(0)
    task = AMiFVQA(**(TIMM | options))
    before = {name: value.clone() for name, value in task.state_dict().items()}
    trainer(folder, max_steps=3, limit_val_batches=1).fit(task, datamodule=data)
    return task, {n for n, value in task.state_dict().items() if not value.equal(before[n])}


def test_frozen_encoders_keep_weights_and_moving_means(data: Phantom, tmp_path: Path) -> None:
    task, names = changed(data, tmp_path, freeze_vision=True, freeze_text=True)
    assert not [name for name in names if name.startswith(("vision.visual.", "text."))]
    # Positions, which the network of timm lacks, are trained.
    assert {"vision.position", "fusion.image_projection.weight"} <= names
    assert task.vision.training
    assert not any(part.training for part in (*task.text.modules(), *task.frozen[0].modules()))


def test_without_freezing_they_change(data: Phantom, tmp_path: Path) -> None:
    names = changed(data, tmp_path)[1]
    assert {"vision.visual.bn1.running_mean", "text.bert.embeddings.LayerNorm.bias"} <= names


def test_the_decoder_may_keep_its_word_embeddings(data: Phantom, tmp_path: Path) -> None:
    words = "decoder.lm.bert.embeddings.word_embeddings.weight"
    assert words in changed(data, tmp_path)[1]
    names = changed(data, tmp_path, freeze_decoder_words=True)[1]
    assert words not in names
    assert "decoder.lm.bert.embeddings.LayerNorm.weight" in names


@pytest.mark.parametrize("part", ["vision", "text", "fusion", "heads"])
def test_a_factor_is_above_0(part: str) -> None:
    with pytest.raises(UserError, match=rf"{part}_lr_factor is 0.0: give a number above 0"):
        AMiFVQA(**(TIMM | {f"{part}_lr_factor": 0.0}))


def test_averaged_weights_are_stored_resumed_and_tested(data: Phantom, tmp_path: Path) -> None:
    """Lightning's own callback."""

    def run(*callbacks: L.Callback, **options: Any) -> Any:
        torch.manual_seed(0)
        averaging = EMAWeightAveraging(decay=0.5)
        limits = {"max_steps": 6, "limit_val_batches": 0, "limit_test_batches": 1}
        given = limits | {"enable_checkpointing": True, "callbacks": [averaging, *callbacks]}
        running, task = trainer(tmp_path, **given), AMiFVQA(**TIMM)
        running.fit(task, datamodule=data, **options)
        return task

    name = "fusion.image_projection.weight"
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=4)
    task = run(saver)
    stored = torch.load(tmp_path / "step=4.ckpt", weights_only=True)
    average = stored["state_dict"][name]
    assert not average.equal(stored["current_model_state"][name])
    resumed = run(ModelCheckpoint(tmp_path / "no"), ckpt_path=tmp_path / "step=4.ckpt")
    assert resumed.state_dict()[name].equal(task.state_dict()[name])
    # As `test` does, in its own process; a trainer that has trained would load the last weights.
    fresh = trainer(tmp_path, limit_test_batches=1, callbacks=[EMAWeightAveraging(decay=0.5)])
    fresh.test(task, data, ckpt_path=tmp_path / "step=4.ckpt", verbose=False)
    assert task.state_dict()[name].equal(average)
