"""TensorBoard images of answering: their texts, and which images are shown."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from amif_lightning.batch import Tokens, VQABatch
from amif_lightning.callbacks.answer_images import AnswerImages, answer_card, one_per_image
from amif_lightning.callbacks.image_figures import RIGHT, WRONG
from amif_lightning.evaluation import Prediction, VocabularyReading
from tests.callbacks.boards import events, trainer_of, validate

READ = VocabularyReading(0.5, 0.1, True, 2.0, 0.49, (("left", 0.61), ("small", 0.2)))


def test_a_card_says_what_was_asked_expected_and_answered() -> None:
    batch = a_batch(2)
    batch.questions[3] = "Which side?"
    for right, colour in ((True, RIGHT), (False, WRONG)):
        given = Prediction("q3", "image1", "left", -1.0, right, READ if right else None)
        card = answer_card(batch, 3, given, batch.images[1])
        assert card.image == pytest.approx(batch.images[1].numpy())
        words, _, colours = zip(*card.texts, strict=True)
        sign = "right" if right else "wrong"
        read = ("read: left 61%, small 20%; gate 0.49",) if right else ()
        assert words == ("Which side?", "truth: yes", f"model: left ({sign})", *read)
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


def answers(batch: VQABatch) -> dict[str, Any]:
    return {"predictions": [Prediction(q, "image", "no", -1.0, False) for q in batch.question_ids]}


def test_the_sheet_has_one_card_an_image_and_not_one_a_question(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    validate(AnswerImages(samples=6, side=64), trainer, [a_batch(4)], outputs=answers)
    (image,) = events(trainer).Images("answers/validation")
    shown = Image.open(io.BytesIO(image.encoded_image_string))
    assert shown.format == "PNG"
    assert shown.width == 10 + 4 * (64 + 10)
    assert len(shown.getcolors(1 << 20) or []) > 50


def test_batches_are_kept_until_there_are_images_enough() -> None:
    # Two questions an image: three batches hold six questions, but only three images.
    callback, batches = AnswerImages(samples=4), [a_batch(1) for _ in range(6)]
    for number, batch in enumerate(batches):
        batch.image_keys = [f"image{number}"] * 2
        callback.keep(batch, answers(batch))
    callback.keep({"image": torch.zeros(1)}, None)  # of another task
    assert [batch for batch, _ in callback._kept] == batches[:4]
