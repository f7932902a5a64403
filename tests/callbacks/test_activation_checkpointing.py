"""Recomputed activations: the same training with less memory, on one and two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from amif_lightning.callbacks import ActivationCheckpointing
from amif_lightning.callbacks.activation_checkpointing import checkpointed_layers
from amif_lightning.models.vision import build_vision
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom
from tests.small import SMALL, phantom, trainer


def trained(data: Phantom, folder: Path, *callbacks: Any, **options: Any) -> dict[str, Any]:
    """Train two steps with dropout, and return the weights."""
    torch.manual_seed(0)
    task = AMiFVQA(**(SMALL | {"dropout": 0.2}))
    running = trainer(
        folder,
        max_steps=2,
        limit_val_batches=0,
        callbacks=[*callbacks],
        deterministic=True,
        **options,
    )
    running.fit(task, datamodule=data)
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return phantom(tmp_path_factory.mktemp("layers") / "phantom", batch_size=8)


def test_training_is_the_same(data: Phantom, tmp_path: Path) -> None:
    plain = trained(data, tmp_path)
    other = trained(data, tmp_path, ActivationCheckpointing())
    assert plain.keys() == other.keys()
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, msg=name)


def test_fewer_activations_are_stored(data: Phantom, tmp_path: Path) -> None:
    task = AMiFVQA(**SMALL)
    running = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    running.fit(task, datamodule=data)
    batch = next(iter(data.train_dataloader()))
    layers = checkpointed_layers(task)
    assert len(layers) == 4  # text encoder, fusion of both streams, decoder

    weights = {parameter.data_ptr() for parameter in task.parameters()}

    def stored() -> int:
        sizes: list[int] = []

        def keep(value: torch.Tensor) -> torch.Tensor:
            if value.data_ptr() not in weights:
                sizes.append(value.numel())
            return value

        task.train()
        states = task.text(batch.question.ids, batch.question.mask)
        tokens = task.vision(batch.images)
        with saved_tensors_hooks(keep, lambda value: value):
            inputs = task.read(task.fuse(states, batch.question.mask, tokens, batch.image_index))
            task.decoder.log_likelihood(batch.answer, inputs.states, inputs.mask).sum()
        return sum(sizes)

    before = stored()
    ActivationCheckpointing().on_fit_start(running, task)
    assert stored() < 0.7 * before


def test_transformer_towers_are_included_and_convolutions_are_not() -> None:
    tower = build_vision("timm:test_vit", None, 160)
    assert len(checkpointed_layers(tower)) > 1
    assert checkpointed_layers(build_vision("conv", None, 64)) == []


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_train_as_without(data: Phantom, tmp_path: Path) -> None:
    options = {"devices": 2, "strategy": "ddp_fork"}
    plain = trained(data, tmp_path, **options)
    other = trained(data, tmp_path, ActivationCheckpointing(), **options)
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, msg=name)
