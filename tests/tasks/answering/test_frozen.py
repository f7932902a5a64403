"""Runs on cached tokens equal runs that encode in every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.callbacks.answer_images import AnswerImages
from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFVQA
from tests.small import SMALL, phantom, trainer

TIMM: dict[str, Any] = SMALL | {"vision": "timm:test_efficientnet", "image_size": 64}
FROZEN = {"freeze_vision": True, "freeze_text": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frozen") / "phantom"


def trained(root: Path, folder: Path, **options: Any) -> tuple[dict[str, torch.Tensor], float]:
    """Weights after three steps, and the score of the test split."""
    torch.manual_seed(0)
    task = AMiFVQA(**TIMM, **FROZEN)
    data = phantom(root, image_size=64, batch_size=4, **options)
    running = trainer(folder, max_steps=3)
    running.fit(task, datamodule=data)
    (scores, *_) = running.test(task, datamodule=data, verbose=False)
    return task.state_dict(), scores["test/overall"]


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("float16", 2e-3)])
def test_training_on_cached_tokens_equals_encoding_in_every_step(
    root: Path, tmp_path: Path, dtype: str, error: float
) -> None:
    plain, score = trained(root, tmp_path)
    cache = {"token_cache": str(tmp_path / "cache"), "cache_dtype": dtype}
    cached, cached_score = trained(root, tmp_path, **cache)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.tokens")}
    assert len(made) == 4  # images of three splits, and the questions
    for name, weight in plain.items():
        torch.testing.assert_close(cached[name], weight, rtol=0, atol=error, msg=name)
    if not error:
        assert cached_score == score
    again, _ = trained(root, tmp_path, **cache)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert all(torch.equal(again[name], cached[name]) for name in again)


def test_images_of_cached_tokens_are_shown(root: Path, tmp_path: Path) -> None:
    drawn = []

    class Shown(AnswerImages):
        def figures(self, task: Any, kept: list[Any]) -> dict[str, Any]:
            assert kept[0][0].images.ndim == 3
            drawn.append(super().figures(task, kept))
            return {}

    data = phantom(root, image_size=64, token_cache=str(tmp_path / "cache"))
    options = {"max_steps": 1, "callbacks": [Shown(samples=2)], "logger": True}
    trainer(tmp_path, **options).fit(AMiFVQA(**TIMM, **FROZEN), datamodule=data)
    assert drawn


@pytest.mark.parametrize(
    ("model", "data", "sentence"),
    [
        ({}, {}, "none is frozen: give --model.init_args.freeze_vision true"),
        (FROZEN, {"augmentation": "mild"}, "augmentation is 'mild' and the tokens of augmented"),
    ],
    ids=["trained", "augmented"],
)
def test_tokens_that_change_are_not_cached(
    root: Path, tmp_path: Path, model: dict[str, bool], data: dict[str, str], sentence: str
) -> None:
    module = phantom(root, image_size=64, token_cache=str(tmp_path / "cache"), **data)
    with pytest.raises(UserError, match=sentence):
        trainer(tmp_path, max_steps=1).fit(AMiFVQA(**TIMM, **model), datamodule=module)
