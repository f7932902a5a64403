"""Alignment across stages: auxiliary losses equal slow references, and are off by default."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amif_lightning.batch import VQABatch
from amif_lightning.losses.alignment import UnifiedAlignment
from amif_lightning.losses.transport import TokenTransport
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering import auxiliary_alignment as auxiliary
from amif_lightning.tasks.answering.auxiliary_alignment import question_alignment
from data_modules.phantom.module import Phantom
from tests.small import SMALL, ready, trainer
from tests.tasks.answering.questions_on_images import (
    IMAGE_OF,
    SHOWN,
    WORDS,
    questions,
    slow_alignment,
    slow_transport,
    vectors,
    written,
)

WEIGHTS: dict[str, float] = {"transport": 0.7, "image_text": 0.3}
OPTIONS: dict[str, float] = {
    "image_text_smoothing": 0.2,
    "temperature": 0.3,
    "blur": 0.2,
    "scaling": 0.4,
}
LOGGED = {
    f"train/{name}" for name in ("transport_loss", "image_text_loss", "image_text_temperature")
}


def hard(temperature: float, smoothing: float) -> UnifiedAlignment:
    """The pair of images and questions, in double precision."""
    return UnifiedAlignment(
        "hard", 1.0, 0.0, 0.0, smoothing=smoothing, temperature=temperature
    ).double()


# ---- the functions ----------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_alignment_of_questions_follows_its_equation(smoothing: float) -> None:
    image, question = vectors()
    loss = question_alignment(hard(0.2, smoothing), image, question, questions(0, 5))
    rows, shown = image[list(IMAGE_OF)], [SHOWN[row] for row in IMAGE_OF]
    # 0.2 as single precision has it.
    tau = math.exp(float(torch.tensor(math.log(0.2))))
    slow = slow_alignment(rows, question, shown, WORDS, tau, smoothing)
    assert float(loss.detach()) == pytest.approx(slow, rel=1e-7)  # labels are single precision


@pytest.mark.parametrize("change", ["image", "words"])
def test_neither_an_image_nor_a_text_is_its_own_negative(change: str) -> None:
    """The image that two groups hold, and the question that is asked of two images."""
    image, question = vectors()
    batch = questions(0, 5)
    loss = question_alignment(hard(0.2, 0.0), image, question, batch)
    if change == "image":
        batch.image_keys[3] = "another"
    else:
        batch.question.ids[2, 1] = 12
    other = question_alignment(hard(0.2, 0.0), image, question, batch)
    assert abs(float(loss.detach()) - float(other.detach())) > 1e-3


# ---- in the task ------------------------------------------------------------------------------


class Keep(L.Callback):
    """What one training step was made of."""

    batch: VQABatch
    loss: float
    trained: set[str]

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.trained = {name for name, p in module.named_parameters() if p.grad is not None}

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, out: Any, batch: Any, i: int
    ) -> None:
        self.batch, self.loss = batch, float(out["loss"])


def one_step(
    data: Phantom, task: AMiFVQA, precision: str = "32-true"
) -> tuple[Keep, dict[str, Tensor]]:
    """Train one step, and what was logged."""
    kept = Keep()
    options = {"max_steps": 1, "limit_val_batches": 0, "precision": precision}
    running = trainer(data.root, callbacks=[kept], **options)
    running.fit(task, datamodule=data)
    return kept, dict(running.callback_metrics)


@pytest.mark.parametrize("tokens", ["words", "contextual", "fused"])
def test_a_step_adds_the_weighted_losses(data: Phantom, tokens: str) -> None:
    # In evaluation mode, which `fit` keeps, and at so small a rate nothing changes.
    task = ready(data, lr=1e-12, min_lr=0.0, transport_tokens=tokens, **WEIGHTS, **OPTIONS)
    kept, logged = one_step(data, task)
    batch, task = kept.batch, task.eval()
    assert len(batch) > len(batch.images)
    with torch.no_grad():
        given = task.encode_pair(batch.question, batch.images, batch.image_index)
        text = task.fusion.text_projection(given.text)
        image = task.fusion.image_projection(given.image)
        layers = task.fusion.text_projection, task.fusion.image_projection
        alone = {"words": task.text.words(batch.question.ids), "contextual": given.text}
        sides = given.words, given.patches[:, 1:]
        if tokens != "fused":
            patches = task.vision.patches(given.image)[batch.image_index]
            sides = layers[0](alone[tokens]), layers[1](patches)
    words = written(batch.question)
    pairs = zip(*sides, words, strict=True)
    transported = [
        slow_transport(word[1 : len(ids) - 1], patch, OPTIONS["blur"], OPTIONS["scaling"])
        for word, patch, ids in pairs
    ]
    aligned = slow_alignment(
        F.normalize(image[:, 0], dim=1)[batch.image_index],
        F.normalize(text[:, 0], dim=1),
        batch.image_keys,
        words,
        OPTIONS["temperature"],
        OPTIONS["image_text_smoothing"],
    )
    mean = sum(transported) / len(transported)
    assert float(logged["train/transport_loss"]) == pytest.approx(mean, rel=1e-4)
    assert float(logged["train/image_text_loss"]) == pytest.approx(aligned, rel=1e-4)
    assert float(logged["train/image_text_temperature"]) == pytest.approx(OPTIONS["temperature"])
    total = float(logged["train/answer_loss"])
    total += WEIGHTS["transport"] * mean + WEIGHTS["image_text"] * aligned
    assert kept.loss == pytest.approx(total, rel=1e-5)
    # DDP waits for the gradient of every parameter.
    assert kept.trained == {name for name, _ in task.named_parameters()}


@pytest.mark.parametrize(
    ("option", "reached", "untouched"),
    [
        ("transport", ("fusion.text_layers", "fusion.image_layers"), ("alignment", "decoder")),
        ("image_text", ("alignment", "fusion.text_projection"), ("fusion.text_layers", "decoder")),
    ],
)
def test_a_weight_changes_the_graph(
    data: Phantom,
    batch: VQABatch,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    reached: tuple[str, ...],
    untouched: tuple[str, ...],
) -> None:
    task = ready(data, transport_tokens="fused", **{option: WEIGHTS[option]})
    logged: list[str] = []
    monkeypatch.setattr(task, "log", lambda name, *_, **__: logged.append(name))
    given = task.encode_pair(batch.question, batch.images, batch.image_index)
    (loss,) = task.auxiliary_losses(batch, given, torch.tensor(float(len(batch))))
    names, parameters = zip(*task.named_parameters(), strict=True)
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
    moved = [n for n, slope in zip(names, slopes, strict=True) if slope is not None and slope.any()]
    assert all(any(name.startswith(part) for name in moved) for part in reached)
    assert not [name for name in moved if name.startswith(untouched)]
    assert logged == [name for name in sorted(LOGGED, key=len) if option in name]


def test_without_weights_nothing_is_built_or_computed(
    data: Phantom, batch: VQABatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fused_tokens", "unfused_tokens", "question_alignment", "global_embedding"):
        monkeypatch.setattr(auxiliary, name, None)  # which cannot be called
    task = ready(data)
    assert task.transport is None
    assert task.alignment is None
    parts = {"vision", "text", "fusion", "knowledge", "decoder"}
    assert {name.split(".")[0] for name in task.state_dict()} == parts
    assert not [m for m in task.modules() if isinstance(m, UnifiedAlignment | TokenTransport)]
    _, logged = one_step(data, task)
    assert "train/answer_loss" in logged
    assert not LOGGED & logged.keys()


def test_transport_adds_no_parameter_and_alignment_its_temperature() -> None:
    plain, both = AMiFVQA(**SMALL), AMiFVQA(**(SMALL | WEIGHTS))
    added = both.state_dict().keys() - plain.state_dict().keys()
    # The name that it has in a checkpoint of the pre-training stage.
    assert added == {"alignment.pairs.image_text.log_temperature"}
    assert plain.state_dict().keys() < both.state_dict().keys()


def test_mixed_precision_rounds_the_tokens_and_not_the_losses(data: Phantom) -> None:
    options = {"lr": 1e-12, "min_lr": 0.0, **WEIGHTS}
    (_, single), (kept, mixed) = (
        one_step(data, ready(data, **options), precision) for precision in ("32-true", "bf16-mixed")
    )
    for name in LOGGED:
        assert mixed[name].dtype == torch.float32
        assert float(mixed[name]) == pytest.approx(float(single[name]), rel=0.03)
    assert len(kept.trained) > 1


@pytest.mark.parametrize(("beyond", "limit"), [(5.0, 1.0), (-9.0, 0.01)])
def test_the_temperature_is_clamped_after_a_step(
    data: Phantom, beyond: float, limit: float
) -> None:
    task = ready(data, image_text=1.0, lr=1e-12, min_lr=0.0)
    (temperature,) = (p for n, p in task.named_parameters() if n.startswith("alignment"))
    nn.init.constant_(temperature, beyond)
    one_step(data, task)
    assert math.exp(float(temperature.detach())) == pytest.approx(limit)
