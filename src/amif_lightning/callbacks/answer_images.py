"""TensorBoard images: validation images with question, answer and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from amif_lightning.batch import VQABatch
from amif_lightning.callbacks.drawing import INK, card, contact_sheet, shown
from amif_lightning.evaluation import Prediction
from amif_lightning.reports.records.knowledge import reading_text

_RIGHT, _WRONG = (0, 110, 40), (180, 20, 20)
_QUESTION_LINES, _ANSWER_LINES, _READ_LINES = 3, 2, 2  # most lines of each text on a card


class AnswerImages(Callback):
    """Shows fixed validation questions after each validation, and what they read of the vocabulary.

    Args:
        samples: Questions shown.
        side: Side of each image in pixels.
    """

    def __init__(self, samples: int = 8, side: int = 224) -> None:
        self.samples, self.side = samples, side
        self._shown: list[tuple[VQABatch, list[Prediction]]] = []

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self._shown = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first questions with their answers; other tasks' batches hold none."""
        if not isinstance(batch, VQABatch):
            return
        kept = {image for batch, _ in self._shown for image in batch.image_keys}
        if len(kept) < self.samples:
            self._shown.append((batch, outputs["predictions"]))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, on the first process and outside the sanity check."""
        logger = trainer.logger
        if (
            trainer.sanity_checking
            or not trainer.is_global_zero
            or not isinstance(logger, TensorBoardLogger)
            or not self._shown
        ):
            return
        cards = [
            answer_card(
                batch.images[batch.image_index[row]],
                batch.questions[row],
                batch.references[row][0],
                given[row],
                self.side,
            )
            for batch, given in self._shown
            for row in one_per_image(batch.image_keys)
        ][: self.samples]
        logger.experiment.add_image(
            "answers/validation",
            np.asarray(contact_sheet(cards)),
            trainer.global_step,
            dataformats="HWC",
        )


def one_per_image(image_keys: Sequence[str]) -> list[int]:
    """One question of every image, the next in turn for each, so that a sheet shows variety.

    Args:
        image_keys: For each question the identity of its image.

    Returns:
        Rows of questions, in the order in which the images first occur.
    """
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(image_keys):
        rows.setdefault(image, []).append(row)
    return [asked[turn % len(asked)] for turn, asked in enumerate(rows.values())]


def answer_card(
    image: Tensor, question: str, answer: str, given: Prediction, side: int
) -> Image.Image:
    """One image with its question, reference answer, prediction and what was read below it.

    Args:
        image: (3, H, W) float, normalised in any way: shown from its own least to greatest value.
        question: The question.
        answer: The reference answer.
        given: The model's answer; whether it counts as right decides the colour.
        side: Side of the image in pixels.
    """
    sign = "right" if given.correct else "wrong"
    lines = [
        (f"Q: {question}", _QUESTION_LINES, INK),
        (f"A: {answer}", _ANSWER_LINES, INK),
        (f"{sign}: {given.answer}", _ANSWER_LINES, _RIGHT if given.correct else _WRONG),
    ]
    if given.knowledge is not None:
        read = reading_text(given.knowledge.read, given.knowledge.gate)
        lines.append((f"read: {read}", _READ_LINES, INK))
    return card(shown(image, side), lines)
