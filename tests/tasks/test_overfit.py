"""The whole task can learn a few questions by heart, and it needs the images for it."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom
from tests.small import SMALL, phantom, trainer

IMAGES, PER_IMAGE = 32, 2
STEPS, EVERY = 150, 25  # 75 are enough


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overfit") / "phantom"
    _phantom(folder).prepare_data()
    return folder


def _phantom(root: Path) -> Phantom:
    return phantom(
        root,
        train_studies=60,
        validation_studies=2,
        test_studies=2,
        batch_size=IMAGES,
        questions_per_image=PER_IMAGE,
        image_size=64,
        vocabulary_size=64,
        cache_images=True,
    )


def _without_shortcut(rows: Sequence[VQAExample]) -> list[VQAExample]:
    """Two questions on each of 32 images; no wording always has the same answer."""
    of_image: dict[str, list[VQAExample]] = defaultdict(list)
    for row in rows:
        of_image[row.image_key].append(row)
    texts = sorted({row.question for row in rows})
    # The most varied wordings, taken until enough images are asked two of them.
    varied = sorted(texts, key=lambda t: -len({r.references[0] for r in rows if r.question == t}))
    for used in range(2, len(varied) + 1):
        pairs = {
            image: [row for row in asked if row.question in varied[:used]][:PER_IMAGE]
            for image, asked in of_image.items()
        }
        chosen = [row for pair in pairs.values() if len(pair) == PER_IMAGE for row in pair]
        chosen = chosen[: IMAGES * PER_IMAGE]
        if len(chosen) == IMAGES * PER_IMAGE:
            return chosen
    raise AssertionError("the generated data set is too small for this test")


def _blind(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return torch.zeros_like(output)


def _accuracy(root: Path, rows: Sequence[VQAExample], tmp_path: Path, *, blind: bool) -> float:
    """Training accuracy once it is 1, else after the last step."""
    data = _phantom(root)
    data.__dict__["splits"] = dataclasses.replace(  # in place of the cached property's value
        data.splits, train=tuple(rows), validation=tuple(rows)
    )
    L.seed_everything(0, verbose=False)
    sizes = {"image_size": 64, "width": 64, "heads": 4}
    task = AMiFVQA(**(SMALL | sizes), lr=1e-3, warmup=0.05)
    if blind:
        task.vision.register_forward_hook(_blind)
    known = EarlyStopping("val/overall", mode="max", patience=STEPS, stopping_threshold=0.999)
    running = trainer(
        tmp_path,
        max_epochs=STEPS,  # one step each
        check_val_every_n_epoch=EVERY,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        callbacks=[known],
    )
    running.fit(task, datamodule=data)
    return float(running.callback_metrics["val/overall"])


@pytest.fixture(scope="module")
def rows(root: Path) -> list[VQAExample]:
    """The 64 questions."""
    return _without_shortcut(_phantom(root).splits.train)


@pytest.mark.slow
def test_64_questions_are_learned_by_heart(
    root: Path, rows: list[VQAExample], tmp_path: Path
) -> None:
    assert len({row.image_key for row in rows}) == IMAGES
    assert _accuracy(root, rows, tmp_path, blind=False) == 1.0


@pytest.mark.slow
def test_without_images_they_are_not(root: Path, rows: list[VQAExample], tmp_path: Path) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        answers[row.question][row.references[0]] += 1
    assert all(len(given) > 1 for given in answers.values())
    # Whatever it learns from the question alone, it gives one answer to each wording.
    reachable = sum(given.most_common(1)[0][1] for given in answers.values()) / len(rows)
    assert reachable < 0.8
    assert _accuracy(root, rows, tmp_path, blind=True) <= reachable
