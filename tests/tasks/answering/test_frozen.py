"""Runs on cached tokens equal runs that encode in every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from amif_lightning.callbacks.answer_images import AnswerImages
from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.frozen import frozen_encoders
from data_modules.phantom.module import Phantom
from tests.small import SMALL, phantom, trainer

TIMM: dict[str, Any] = SMALL | {"vision": "timm:test_efficientnet", "image_size": 64}
FROZEN: dict[str, Any] = {"freeze_vision": True, "freeze_text": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frozen") / "phantom"


def trained(root: Path, folder: Path, **options: Any) -> tuple[dict[str, torch.Tensor], float]:
    """Weights after three steps, and the loss of the third."""
    torch.manual_seed(0)
    task = AMiFVQA(**TIMM, **FROZEN, lr=1e-3)
    data = phantom(root, image_size=64, batch_size=4, **options)
    running = trainer(folder, max_steps=3)
    running.fit(task, datamodule=data)
    loss = float(running.callback_metrics["train/answer_loss"])
    running.test(task, datamodule=data, verbose=False)
    return task.state_dict(), loss


# The last bits of an encoder's output depend on the other images of its batch.
@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-5), ("float16", 1e-3)])
def test_training_on_cached_tokens_equals_encoding_in_every_step(
    root: Path, tmp_path: Path, dtype: str, error: float
) -> None:
    _, loss = trained(root, tmp_path)
    cache = {"token_cache": str(tmp_path / "cache"), "cache_dtype": dtype}
    cached, cached_loss = trained(root, tmp_path, **cache)
    assert cached_loss == pytest.approx(loss, rel=error)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.tokens")}
    assert len(made) == 5  # images of three splits, the blank image, and the questions
    again, _ = trained(root, tmp_path, **cache)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert all(torch.equal(again[name], cached[name]) for name in again)


def test_another_grid_has_other_cached_tokens() -> None:
    names = [
        frozen_encoders(AMiFVQA(**TIMM, **FROZEN, vision_grid=grid)).image_name.split()[1]
        for grid in (None, 2)
    ]
    assert names == ["None", "2"]


def test_images_of_cached_tokens_are_shown(root: Path, tmp_path: Path) -> None:
    drawn = []

    class Shown(AnswerImages):
        def figures(self, task: Any, kept: list[Any]) -> dict[str, Any]:
            assert kept[0][0].images.ndim == 3
            dataset, plain = task.trainer.val_dataloaders.dataset, phantom(root, image_size=64)
            (batch, *_) = plain.val_dataloader()
            for image, key in zip(batch.images, dict.fromkeys(batch.image_keys), strict=True):
                assert torch.equal(dataset.pixels(key), image)
            drawn.append(super().figures(task, kept))
            return {}

    data = phantom(root, image_size=64, token_cache=str(tmp_path / "cache"))
    options: dict[str, Any] = {
        "callbacks": [Shown(samples=2)],
        "logger": TensorBoardLogger(tmp_path),
    }
    trainer(tmp_path, max_steps=1, val_check_interval=1, **options).fit(
        AMiFVQA(**TIMM, **FROZEN), datamodule=data
    )
    assert drawn


def test_another_task_on_the_same_data_has_its_own_tokens(root: Path, tmp_path: Path) -> None:
    cached = phantom(root, image_size=64, token_cache=str(tmp_path / "cache"))
    plain = phantom(root, image_size=64)

    def answered(task: AMiFVQA, data: Phantom) -> list[float]:
        batches = trainer(tmp_path).predict(task, datamodule=data) or []
        return [one.log_likelihood for batch in batches for one in batch]

    for seed in range(2):
        torch.manual_seed(seed)
        task = AMiFVQA(**TIMM, **FROZEN)
        assert answered(task, cached) == pytest.approx(answered(task, plain), rel=1e-3)


@pytest.mark.parametrize(
    ("model", "data", "sentence"),
    [
        ({}, {}, "none is frozen: give --model.init_args.freeze_vision true"),
        (FROZEN, {"augmentation": "mild"}, "augmentation is 'mild' and the tokens of augmented"),
    ],
    ids=["trained", "augmented"],
)
def test_tokens_that_change_are_not_cached(
    root: Path, tmp_path: Path, model: dict[str, Any], data: dict[str, Any], sentence: str
) -> None:
    module = phantom(root, image_size=64, token_cache=str(tmp_path / "cache"), **data)
    with pytest.raises(UserError, match=sentence):
        trainer(tmp_path, max_steps=1).fit(AMiFVQA(**TIMM, **model), datamodule=module)
