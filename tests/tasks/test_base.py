"""What both stages share: plain options, seeds, trained parameters and the number of steps."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
from torch import nn

from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.optimization import optimizer_steps
from data_modules.phantom.module import Phantom
from tests.small import SMALL, phantom, trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return phantom(tmp_path_factory.mktemp("base") / "phantom", batch_size=8)


def test_hyper_parameters_are_plain_types() -> None:
    def plain(value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(plain(item) for item in value)
        return value is None or type(value) in (bool, int, float, str)

    hparams = AMiFVQA(**SMALL, init_from="some/file.ckpt").hparams
    assert {"width", "knowledge", "init_from"} <= set(hparams)
    assert all(plain(value) for value in hparams.values())


def test_dropout_of_attention_weights_is_separate() -> None:
    for given, expected in ((0.0, 0.0), (None, 0.2)):
        task = AMiFVQA(**SMALL | {"dropout": 0.2, "attention_dropout": given})
        shares = [m.dropout for m in task.modules() if isinstance(m, nn.MultiheadAttention)]
        for bert in (task.text.bert, task.decoder.lm):
            shares.append(bert.config.attention_probs_dropout_prob)
            assert bert.config.hidden_dropout_prob == 0.2
        assert set(shares) == {expected}
        assert {m.p for m in task.fusion.modules() if isinstance(m, nn.Dropout)} == {0.2}


def test_every_parameter_is_trained(data: Phantom) -> None:
    """A parameter without a gradient breaks ``ddp`` and is dead weight."""
    found: dict[str, bool] = {}

    class Look(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            found.update({n: p.grad is not None for n, p in module.named_parameters()})

    running = trainer(data.root, max_steps=1, limit_val_batches=0, callbacks=[Look()])
    running.fit(AMiFVQA(**SMALL), datamodule=data)
    assert found
    assert [name for name, given in found.items() if not given] == []


# ---- number of steps --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 3},
        {"max_epochs": 3, "max_steps": 5},
        {"max_epochs": 3, "accumulate_grad_batches": 2},
        {"max_epochs": 2, "limit_train_batches": 3},
        {"max_epochs": 2, "limit_train_batches": 0.5, "accumulate_grad_batches": 2},
        {"max_epochs": 2, "limit_train_batches": 1.0},
        {"fast_dev_run": 2},
    ],
    ids=str,
)
def test_a_resumed_run_counts_the_steps_as_the_trainer_does(
    data: Phantom, options: dict[str, Any]
) -> None:
    """The learning rate of a resumed run falls to the same last step."""
    seen: list[tuple[float, float]] = []

    class Compare(L.Callback):
        def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            names = ("max_epochs", "max_steps", "accumulate_grad_batches", "limit_train_batches")
            copied = {name: getattr(trainer, name) for name in names}
            resumed: Any = SimpleNamespace(ckpt_path="some/last.ckpt", datamodule=data, **copied)
            counted = optimizer_steps(resumed)
            seen.append((counted, trainer.estimated_stepping_batches))
            trainer.should_stop = True

    running = trainer(data.root, limit_val_batches=0, callbacks=[Compare()], **options)
    running.fit(AMiFVQA(**SMALL), datamodule=data)
    assert seen
    assert seen[0][0] == seen[0][1]


@pytest.mark.parametrize(("most", "expected"), [(7, 7), (-1, math.inf)])
def test_a_resumed_run_without_epochs_ends_at_its_last_step(
    tmp_path: Path, most: int, expected: float
) -> None:
    running = trainer(tmp_path, max_epochs=-1, max_steps=most)
    running.ckpt_path = "some/last.ckpt"
    assert optimizer_steps(running) == expected
