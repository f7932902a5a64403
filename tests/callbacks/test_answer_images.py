"""The TensorBoard images: a person can read them, and they say what the model was shown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from amif_lightning.batch import Tokens, VQABatch
from amif_lightning.callbacks.answer_images import AnswerImages, answer_card, one_per_image
from amif_lightning.callbacks.drawing import contact_sheet
from amif_lightning.evaluation import Prediction, VocabularyReading

SIDE = 160
EMPTY = Prediction("q", "image", "", -1.0, True)
LONG = "Is there a small nodule in the left upper zone of this posteroanterior radiograph? " * 4


def card(
    question: str = "Which view is this?",
    answer: str = "frontal",
    prediction: str = "lateral",
    *,
    right: bool = False,
) -> NDArray[np.int64]:
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    given = Prediction("q", "image", prediction, -1.0, right)
    return np.asarray(answer_card(image, question, answer, given, SIDE)).astype(int)


def below(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The part that holds the text."""
    return pixels[SIDE + 8 :]


def coloured(pixels: NDArray[np.int64], channel: int) -> int:
    """Pixels of the text that are clearly more of one colour than of the others."""
    others = [c for c in range(3) if c != channel]
    return int((pixels[..., channel] - pixels[..., others].max(-1) > 60).sum())


def test_right_is_green_and_wrong_is_red() -> None:
    right, wrong = below(card(right=True)), below(card(right=False))
    assert coloured(right, 1) > 30
    assert coloured(right, 0) == 0
    assert coloured(wrong, 0) > 30
    assert coloured(wrong, 1) == 0


@pytest.mark.parametrize("changed", ["question", "answer", "prediction"])
def test_every_text_is_drawn(changed: str) -> None:
    other: Any = {changed: "pneumothorax"}
    plain, second = card(), card(**other)
    assert (below(plain) != below(second)).any()
    assert (plain[:SIDE] == second[:SIDE]).all()


def test_text_contrasts_with_the_paper() -> None:
    text = below(card())
    assert (text.sum(-1) < 150).sum() > 100  # nearly black letters
    assert np.median(text) == 255


def test_the_longest_texts_stay_on_the_card() -> None:
    full = card(LONG, LONG, LONG)
    assert full.shape == card().shape  # cards of a sheet are of one size
    for edge in (full[-4:], full[SIDE + 8 :, :4], full[SIDE + 8 :, -4:]):
        assert (edge == 255).all()


def test_a_grey_image_stays_grey_under_any_normalisation() -> None:
    grey = torch.linspace(0, 1, 32 * 32).reshape(1, 32, 32).expand(3, 32, 32)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3])
    shown = answer_card((grey - mean[:, None, None]) / std[:, None, None], "", "", EMPTY, SIDE)
    image = np.asarray(shown)[6 : SIDE + 6, 6 : SIDE + 6].astype(int)
    assert (image.max(-1) - image.min(-1)).max() <= 1
    assert image.max() - image.min() > 240


def test_an_even_image_is_drawn() -> None:
    shown = answer_card(torch.zeros(3, 8, 8), "q", "a", EMPTY, SIDE)
    assert shown.size[0] > SIDE


def test_each_image_is_shown_once_with_questions_in_turn() -> None:
    # Rows: a, a, b, b, c, a again in another group.
    assert one_per_image(["a", "a", "b", "b", "c", "a"]) == [0, 3, 4]


# ---- knowledge --------------------------------------------------------------------------------

READ = VocabularyReading(0.5, 0.1, True, 2.0, 0.49, (("left", 0.61), ("small", 0.2)))


def test_what_was_read_is_drawn_below_the_answer() -> None:
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))

    def drawn(reading: VocabularyReading | None) -> NDArray[np.int64]:
        given = Prediction("q", "image", "left", -1.0, True, reading)
        return np.asarray(answer_card(image, "q", "left", given, SIDE)).astype(int)

    plain, read = drawn(None), drawn(READ)
    assert read.shape[0] > plain.shape[0]  # lines of its own
    assert (read[: plain.shape[0]] != plain).any()
    other = drawn(replace(READ, read=(("right", 0.61), ("small", 0.2))))
    assert (read != other).any()
    assert (read != drawn(replace(READ, gate=0.9))).any()


# ---- through the hooks ------------------------------------------------------------------------


def a_batch(images: int) -> VQABatch:
    """Two questions on each image."""
    count = 2 * images
    tokens = Tokens(torch.ones(count, 3, dtype=torch.long), torch.ones(count, 3, dtype=torch.bool))
    return VQABatch(
        images=torch.rand(images, 3, 16, 16),
        image_index=torch.arange(images).repeat_interleave(2),
        question=tokens,
        answer=tokens,
        strata=torch.ones(count, 1, dtype=torch.bool),
        question_ids=[f"q{k}" for k in range(count)],
        references=[("yes",)] * count,
        image_keys=[f"image{k // 2}" for k in range(count)],
        questions=["Is it?"] * count,
    )


def _validate(
    callback: AnswerImages, trainer: Any, batches: list[VQABatch], task: Any = None
) -> None:
    callback.on_validation_start(trainer, task)
    for number, batch in enumerate(batches):
        given = [Prediction(q, "image", "no", -1.0, False) for q in batch.question_ids]
        callback.on_validation_batch_end(trainer, task, {"predictions": given}, batch, number)
    callback.on_validation_end(trainer, task)


def _trainer(folder: Path, **more: Any) -> Any:
    logger = TensorBoardLogger(folder, name="", version="")
    state = {"sanity_checking": False, "is_global_zero": True, "logger": logger, "global_step": 7}
    return SimpleNamespace(**(state | more))


def _events(trainer: Any) -> EventAccumulator:
    trainer.logger.experiment.flush()
    return cast(EventAccumulator, EventAccumulator(trainer.logger.log_dir).Reload())


def test_the_sheet_is_a_png_in_the_event_file(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    callback = AnswerImages(samples=6, side=64)
    _validate(callback, trainer, [a_batch(4)])
    events = _events(trainer)
    (image,) = events.Images("answers/validation")
    assert image.step == 7
    shown = Image.open(io.BytesIO(image.encoded_image_string))
    assert shown.format == "PNG"
    width, height = contact_sheet([answer_card(torch.rand(3, 4, 4), "", "", EMPTY, 64)]).size
    assert shown.size == (4 * width, height)  # one card an image, not one a question


def test_batches_are_kept_until_there_are_images_enough(tmp_path: Path) -> None:
    # Two questions an image: three batches hold six questions, but only three images.
    trainer = _trainer(tmp_path)
    batches = [a_batch(1) for _ in range(6)]
    for number, batch in enumerate(batches):
        batch.image_keys = [f"image{number}"] * 2
    callback = AnswerImages(samples=4, side=64)
    _validate(callback, trainer, batches)
    (image,) = _events(trainer).Images("answers/validation")
    assert image.width == 4 * (64 + 12)


def test_batches_of_other_tasks_are_passed_over(tmp_path: Path) -> None:
    trainer, task = _trainer(tmp_path), cast(Any, None)
    callback = AnswerImages()
    callback.on_validation_start(trainer, task)
    callback.on_validation_batch_end(trainer, task, None, {"image": torch.zeros(1)}, 0)
    callback.on_validation_end(trainer, task)
    assert not list(tmp_path.glob("events*"))


@pytest.mark.parametrize("state", [{"sanity_checking": True}, {"is_global_zero": False}])
def test_it_rests_where_nothing_should_be_drawn(tmp_path: Path, state: dict[str, Any]) -> None:
    trainer = _trainer(tmp_path, **state)
    _validate(AnswerImages(), trainer, [a_batch(2)])
    assert not list(tmp_path.glob("events*"))


def test_no_logger_is_no_error(tmp_path: Path) -> None:
    _validate(AnswerImages(), _trainer(tmp_path, logger=None), [a_batch(2)])
