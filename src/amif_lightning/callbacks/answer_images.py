"""TensorBoard images of answering: question, reference and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from amif_lightning.batch import VQABatch
from amif_lightning.callbacks.image_figures import INK, RIGHT, WRONG, Card, cards_figure
from amif_lightning.callbacks.validation_images import ValidationImages, array
from amif_lightning.evaluation import Prediction
from amif_lightning.reports.records.answering import reading_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4


class AnswerImages(ValidationImages):
    """Shows fixed questions and their attention on the vocabulary after each validation.

    Args:
        samples: Questions shown.
        side: Side of each image in pixels.
    """

    def __init__(self, samples: int = 8, side: int = 224) -> None:
        super().__init__(samples=samples, side=side)
        self.samples, self.side = samples, side

    def keep(self, batch: Any, outputs: Any) -> None:
        """Keep batches with their answers until they contain enough images."""
        if isinstance(batch, VQABatch):
            images = {image for kept, _ in self._kept for image in kept.image_keys}
            if len(images) < self.samples:
                self._kept.append((batch, outputs["predictions"]))

    def figures(self, task: Any, kept: list[Any]) -> dict[str, Figure]:
        """Draw one figure of cards."""
        cards = [
            answer_card(batch, row, given[row], _pixels(task, batch, row))
            for batch, given in kept
            for row in one_per_image(batch.image_keys)
        ][: self.samples]
        rows = [cards[start : start + _COLUMNS] for start in range(0, len(cards), _COLUMNS)]
        return {"answers/validation": cards_figure(rows, self.side)}


def one_per_image(image_keys: Sequence[str]) -> list[int]:
    """List one question (row) per image, in order of the images.

    The n-th image shows its n-th question, starting again after the last, for variety.
    """
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(image_keys):
        rows.setdefault(image, []).append(row)
    return [asked[turn % len(asked)] for turn, asked in enumerate(rows.values())]


def _pixels(task: Any, batch: VQABatch, row: int) -> Tensor:
    """Return a question's image (3, H, W), read again if the batch has cached tokens."""
    if batch.images.ndim == 4:
        return batch.images[batch.image_index[row]]
    pixels: Tensor = task.trainer.val_dataloaders.dataset.pixels(batch.image_keys[row])
    return pixels


def answer_card(batch: VQABatch, row: int, given: Prediction, image: Tensor) -> Card:
    """Make a card: the image above question, reference, prediction and vocabulary attention."""
    verdict, colour = ("right", RIGHT) if given.correct else ("wrong", WRONG)
    texts = [
        (batch.questions[row], 3, INK),
        (f"truth: {batch.references[row][0]}", 2, INK),
        (f"model: {given.answer} ({verdict})", 2, colour),
    ]
    if given.knowledge is not None:
        read = reading_text(given.knowledge.read, given.knowledge.gate)
        texts.append((f"read: {read}", 2, INK))
    return Card(tuple(texts), array(image))
