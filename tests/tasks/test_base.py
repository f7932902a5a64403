"""What both stages share: checkpoints that load safely, and the number of optimizer steps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFTask, AMiFVQA
from amif_lightning.tasks.base import load_checkpoint
from data_modules.phantom.module import Phantom

SMALL: dict[str, Any] = {
    "vision": "conv",
    "vision_pretrained": None,
    "text": "small",
    "text_layers": 1,
    "image_size": 32,
    "width": 32,
    "heads": 2,
    "fusion_layers": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return Phantom(
        str(tmp_path_factory.mktemp("base") / "phantom"),
        train_studies=24,
        validation_studies=8,
        test_studies=8,
        image_size=32,
        tokenizer="words",
        batch_size=8,
        num_workers=0,
    )


# ---- checkpoint files -------------------------------------------------------------------------


def test_a_missing_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.ckpt does not exist: check the path"):
        load_checkpoint(tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize("kept", [0, 100, -50])
def test_a_truncated_checkpoint_is_one_sentence(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.ckpt"
    torch.save({"state_dict": {"weight": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cut\.ckpt cannot be read \(\w+\): it is damaged"):
        load_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"state_dict": {}, "callbacks": Touch()}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "touched").exists()


def test_weights_without_their_names_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "bare.ckpt")
    with pytest.raises(UserError, match="holds no state_dict: give a checkpoint that `fit` wrote"):
        load_checkpoint(tmp_path / "bare.ckpt")


def test_hyper_parameters_are_plain_types() -> None:
    def plain(value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(plain(item) for item in value)
        return value is None or type(value) in (bool, int, float, str)

    hparams = AMiFVQA(**SMALL, init_from="some/file.ckpt").hparams
    assert {"width", "knowledge", "init_from"} <= set(hparams)
    assert all(plain(value) for value in hparams.values())


def test_one_seed_gives_one_model() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(AMiFVQA(**SMALL).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_every_parameter_is_trained(data: Phantom) -> None:
    """A parameter without a gradient breaks ``ddp`` and is dead weight."""
    found: dict[str, bool] = {}

    class Look(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            found.update({n: p.grad is not None for n, p in module.named_parameters()})

    _trainer(data, max_steps=1, limit_val_batches=0, callbacks=[Look()]).fit(
        AMiFVQA(**SMALL), datamodule=data
    )
    assert found
    assert [name for name, given in found.items() if not given] == []


# ---- number of steps --------------------------------------------------------------------------


def _trainer(data: Phantom, **more: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=data.root,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **more,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": 3},
        {"max_epochs": 3, "max_steps": 5},
        {"max_epochs": 3, "accumulate_grad_batches": 2},
        {"max_epochs": 2, "limit_train_batches": 3},
        {"max_epochs": 2, "limit_train_batches": 0.5, "accumulate_grad_batches": 2},
        {"max_epochs": 2, "limit_train_batches": 1.0},
        {"max_epochs": -1, "max_steps": 7},
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
            resumed: Any = SimpleNamespace(
                ckpt_path="some/last.ckpt",
                datamodule=data,
                estimated_stepping_batches=trainer.estimated_stepping_batches,
                **copied,
            )
            task: Any = SimpleNamespace(trainer=resumed)
            counted = AMiFTask._optimizer_steps(task)
            seen.append((counted, trainer.estimated_stepping_batches))
            trainer.should_stop = True

    trainer = _trainer(data, limit_val_batches=0, callbacks=[Compare()], **options)
    trainer.fit(AMiFVQA(**SMALL), datamodule=data)
    assert seen
    assert seen[0][0] == seen[0][1]
