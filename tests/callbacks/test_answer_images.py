"""The TensorBoard images: a person can read them, and they say what the model was shown."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from amif_lightning.batch import Tokens, VQABatch
from amif_lightning.callbacks.answer_images import AnswerImages, answer_card, one_per_image
from amif_lightning.callbacks.image_figures import RIGHT, WRONG
from amif_lightning.evaluation import Prediction, VocabularyReading

READ = VocabularyReading(0.5, 0.1, True, 2.0, 0.49, (("left", 0.61), ("small", 0.2)))


def test_a_card_says_what_was_asked_expected_and_answered() -> None:
    batch = a_batch(2)
    batch.questions[3] = "Which side?"
    for right, colour in ((True, RIGHT), (False, WRONG)):
        given = Prediction("q3", "image1", "left", -1.0, right, READ if right else None)
        card = answer_card(batch, 3, given)
        assert card.image == pytest.approx(batch.images[1].numpy())
        words, _, colours = zip(*card.texts, strict=True)
        sign = "right" if right else "wrong"
        read = ("read: left 61%, small 20%; gate 0.49",) if right else ()
        assert words == ("Q: Which side?", "A: yes", f"{sign}: left", *read)
        assert colours[2] == colour


def test_each_image_is_shown_once_with_questions_in_turn() -> None:
    # Rows: a, a, b, b, c, a again in another group.
    assert one_per_image(["a", "a", "b", "b", "c", "a"]) == [0, 3, 4]


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
    assert shown.width == 10 + 4 * (64 + 10)  # one card an image, not one a question
    assert len(shown.getcolors(1 << 20) or []) > 50


def test_batches_are_kept_until_there_are_images_enough(tmp_path: Path) -> None:
    # Two questions an image: three batches hold six questions, but only three images.
    trainer = _trainer(tmp_path)
    batches = [a_batch(1) for _ in range(6)]
    for number, batch in enumerate(batches):
        batch.image_keys = [f"image{number}"] * 2
    callback = AnswerImages(samples=4, side=64)
    _validate(callback, trainer, batches)
    (image,) = _events(trainer).Images("answers/validation")
    assert image.width == 10 + 4 * (64 + 10)


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
