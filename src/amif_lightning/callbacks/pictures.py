"""TensorBoard pictures: validation images with question, answer and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from amif_lightning.batch import Tokens, VQABatch
from amif_lightning.callbacks.drawing import INK, card, contact_sheet, shown

_RIGHT, _WRONG = (0, 110, 40), (180, 20, 20)
_QUESTION_LINES, _ANSWER_LINES = 3, 2  # most lines of each text on a card


class AnswerPictures(Callback):
    """Shows fixed validation questions after each validation, and what the gate let in.

    Args:
        samples: Questions shown.
        entries: Vocabulary entries listed as most attended.
        side: Side of each picture in pixels.
    """

    def __init__(self, samples: int = 8, entries: int = 12, side: int = 224) -> None:
        self.samples, self.entries, self.side = samples, entries, side
        self._shown: list[tuple[VQABatch, list[str], list[bool]]] = []

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
        kept = {image for batch, _, _ in self._shown for image in batch.image_ids}
        if len(kept) < self.samples:
            answers = [p.answer for p in outputs["predictions"]]
            right = [p.correct for p in outputs["predictions"]]
            self._shown.append((batch, answers, right))

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
                answers[row],
                right[row],
                self.side,
            )
            for batch, answers, right in self._shown
            for row in one_per_image(batch.image_ids)
        ][: self.samples]
        writer = logger.experiment
        writer.add_image(
            "answers/validation",
            np.asarray(contact_sheet(cards)),
            trainer.global_step,
            dataformats="HWC",
        )
        # Attention weights of a whole evaluation batch are large, and kept in single precision.
        few = first_questions(self._shown[0][0], self.samples)
        text = most_attended(pl_module, few, self.entries)
        if text:
            writer.add_text("knowledge/most_attended", text, trainer.global_step)


def one_per_image(image_ids: Sequence[str]) -> list[int]:
    """One question of every image, the next in turn for each, so that a sheet shows variety.

    Args:
        image_ids: For each question the identity of its image.

    Returns:
        Rows of questions, in the order in which the images first occur.
    """
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(image_ids):
        rows.setdefault(image, []).append(row)
    return [asked[turn % len(asked)] for turn, asked in enumerate(rows.values())]


def first_questions(batch: VQABatch, most: int) -> VQABatch:
    """The first questions of a batch and the images that they are about.

    Args:
        batch: Questions and images.
        most: Most questions, at least 1.
    """
    shown, index = batch.image_index[:most].unique(return_inverse=True)

    def cut(tokens: Tokens) -> Tokens:
        return Tokens(tokens.ids[:most], tokens.mask[:most])

    return VQABatch(
        images=batch.images[shown],
        image_index=index,
        question=cut(batch.question),
        answer=cut(batch.answer),
        strata=batch.strata[:most],
        question_ids=batch.question_ids[:most],
        references=batch.references[:most],
        image_ids=batch.image_ids[:most],
        questions=batch.questions[:most],
    )


@torch.no_grad()
def most_attended(task: Any, batch: VQABatch, entries: int) -> str:
    """Markdown list of the vocabulary entries that a batch attends to most, with their share.

    Args:
        task: An ``AMiFVQA`` in evaluation mode.
        batch: Questions and images, on the task's device.
        entries: Entries listed.

    Returns:
        The list, or an empty text where the knowledge attention is switched off.
    """
    reading = task(batch, attention=True)
    if reading.reading is None or reading.reading.attention is None or task.space is None:
        return ""
    weights = reading.reading.attention[reading.mask].mean(0)
    top = weights.topk(min(entries, len(weights)))
    even = 1 / len(weights)
    rows = "\n".join(
        f"| {task.space.vocabulary[index]} | {value:.4f} | {value / even:.1f} |"
        for value, index in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )
    return f"| entry | mean weight | times the even share |\n|---|---|---|\n{rows}"


def answer_card(
    image: Tensor, question: str, answer: str, prediction: str, right: bool, side: int
) -> Image.Image:
    """One picture with its question, reference answer and prediction below it.

    Args:
        image: (3, H, W) float, normalised in any way: shown from its own least to greatest value.
        question: The question.
        answer: The reference answer.
        prediction: The model's answer.
        right: Whether it counts as right; decides the colour.
        side: Side of the picture in pixels.
    """
    sign = "right" if right else "wrong"
    return card(
        shown(image, side),
        (
            (f"Q: {question}", _QUESTION_LINES, INK),
            (f"A: {answer}", _ANSWER_LINES, INK),
            (f"{sign}: {prediction}", _ANSWER_LINES, _RIGHT if right else _WRONG),
        ),
    )
