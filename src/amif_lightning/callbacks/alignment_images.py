"""TensorBoard images of pre-training: similarities, transport plans and hard negatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from amif_lightning.batch import StudyBatch
from amif_lightning.callbacks.alignment_sheets import (
    Negative,
    WordMap,
    negatives_sheet,
    neighbours,
    plans_sheet,
    similarity_sheet,
)
from amif_lightning.callbacks.drawing import Array, shown
from amif_lightning.errors import UserError
from amif_lightning.losses.alignment import same_sample, soft_labels
from amif_lightning.losses.unified import Sides
from amif_lightning.models.eval_mode import at_rest
from amif_lightning.models.patch_grid import patch_centres
from amif_lightning.models.words import Word, informative, words_of

_OPTIONS = ("samples", "studies", "words", "negatives", "side")


class AlignmentImages(Callback):
    """Shows after each validation what pre-training makes of the first validation batch.

    ``alignment/similarity``: the student's similarities of images and reports beside the teacher's
    labels. ``transport/plans``: where the plan sends words of a report, by the tokens that the
    run's loss reads. ``negatives/hardest``: the texts drawn for images that are nearest to them,
    for tasks that mine negatives. Under several processes the batch is the first one's own.

    Args:
        samples: Studies compared, at most; a validation batch may hold fewer.
        studies: Studies whose transport plans are shown.
        words: Words of each report that are shown: the longest different ones.
        negatives: Drawn texts that are shown.
        side: Side of each image in pixels.

    Raises:
        UserError: If a number is below 1.
    """

    def __init__(
        self,
        samples: int = 32,
        studies: int = 4,
        words: int = 3,
        negatives: int = 6,
        side: int = 224,
    ) -> None:
        given = (samples, studies, words, negatives, side)
        for name, number in zip(_OPTIONS, given, strict=True):
            if number < 1:
                raise UserError(f"AlignmentImages: {name} is {number}: give at least 1.")
        self.samples, self.studies, self.words = samples, studies, words
        self.negatives, self.side = negatives, side
        self._batch: StudyBatch | None = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self._batch = None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first batch of studies; other tasks' batches are none."""
        if self._batch is None and isinstance(batch, StudyBatch):
            self._batch = first_studies(batch, self.samples)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, on the first process and outside the sanity check."""
        batch, self._batch = self._batch, None
        logger = trainer.logger
        if (
            batch is None
            or trainer.sanity_checking
            or not trainer.is_global_zero
            or not isinstance(logger, TensorBoardLogger)
        ):
            return
        with at_rest(pl_module):
            sheets = self.sheets(pl_module, batch)
        for tag, sheet in sheets.items():
            logger.experiment.add_image(
                tag, np.asarray(sheet), trainer.global_step, dataformats="HWC"
            )

    def sheets(self, task: Any, batch: StudyBatch) -> dict[str, Image.Image]:
        """The images by their tags, without those that task or batch have nothing for.

        Args:
            task: An ``AMiFPretrain``, see :func:`at_rest`.
            batch: B studies, on the task's device.
        """
        tokens, states = task.vision(batch.first), task.text(batch.text.ids, batch.text.mask)
        image, text = task.embed_image(tokens), task.embed_text(states)
        made = {"alignment/similarity": self._similarity(task, batch, image, text)}
        plans = self._plans(task, batch, tokens, states)
        if plans is not None:
            made["transport/plans"] = plans
        if task.weights["matching"]:
            hardest = self._hardest(task, batch, image, text)
            if hardest is not None:
                made["negatives/hardest"] = hardest
        return made

    def _similarity(self, task: Any, batch: StudyBatch, image: Tensor, text: Tensor) -> Image.Image:
        groups = batch.relevance.tolist()
        order = neighbours(groups)
        same = same_sample(batch.study, batch.text_id)
        teacher = batch.teacher
        if teacher is None:
            labels, labels_are = same.float(), "Identity: the same study or the same text"
        else:
            weight = task.alignment.same_weight
            labels = soft_labels(teacher.first, teacher.text, teacher.scale, same, weight)
            labels_are = "Teacher: soft labels of a row"
        student = None
        if "image_text" in task.alignment.pairs:
            logits = task.alignment.pairs["image_text"].logits(image, text)
            student = _numbers(logits.softmax(1))[order][:, order]
        return similarity_sheet(
            _numbers(image @ text.T)[order][:, order],
            student,
            _numbers(labels)[order][:, order],
            labels_are,
            [groups[place] for place in order],
            3 * self.side // 2,
        )

    def _plans(
        self, task: Any, batch: StudyBatch, tokens: Tensor, states: Tensor
    ) -> Image.Image | None:
        tokenizer = Tokenizer.from_str(task.tokenizer)
        local = task.local_tokens(batch.text, states, tokens)
        plan, _ = local.plan(task.transport)
        chosen: dict[int, list[Word]] = {}
        named = [
            {} if task.pairs is None else task.pairs.named(study, image)
            for study, image in zip(batch.study_ids, batch.first_ids, strict=True)
        ]
        # Studies with other findings each, as far as there are any, and with known ones first.
        for row in sorted(_variety(batch.relevance.tolist()), key=lambda row: not named[row]):
            words = words_of(batch.text.ids[row], batch.text.mask[row], tokenizer)
            moved = [word for word in words if bool(local.mask[row, list(word.places)].all())]
            found = _telling(moved, named[row], self.words)
            if found and len(chosen) < self.studies:
                chosen[row] = found
        if not chosen:
            return None
        studies = [
            (
                shown(batch.first[row], self.side),
                batch.texts[row],
                [
                    WordMap(
                        word.text,
                        _numbers(plan[row, list(word.places)].sum(0)),
                        named[row].get(word.text.lower()),
                    )
                    for word in words
                ],
            )
            for row, words in chosen.items()
        ]
        return plans_sheet(studies, patch_centres(task.vision, task.image_size), self.words)

    def _hardest(
        self, task: Any, batch: StudyBatch, image: Tensor, text: Tensor
    ) -> Image.Image | None:
        given = batch.teacher
        if given is None and task.alignment.kind == "soft":
            return None  # what is alike is the teacher's to say, and this data has none
        teacher = None if given is None else Sides(given.first, given.second, given.text)
        same = same_sample(batch.study, batch.text_id)
        # Only images and texts draw from each other; view 2 takes no part.
        sides, scale = Sides(image, image, text), 0.0 if given is None else given.scale
        negatives = task.draw(task.hard_weights(sides, same, teacher, scale))
        texts, valid = negatives.texts, negatives.valid[0]
        cosines = _numbers(image @ text.T)
        # Under several processes the draw covers this one's share of what it is given.
        drawn = [(row, int(texts[row])) for row in range(len(texts)) if valid[row]]
        drawn.sort(key=lambda pair: -cosines[pair])
        if not drawn:
            return None
        return negatives_sheet(
            [
                Negative(
                    shown(batch.first[row], self.side),
                    batch.texts[row],
                    batch.texts[other],
                    float(cosines[row, row]),
                    float(cosines[row, other]),
                )
                for row, other in drawn[: self.negatives]
            ]
        )


def first_studies(batch: StudyBatch, max_count: int) -> StudyBatch:
    """The first studies of a batch.

    Args:
        batch: Studies.
        max_count: Most studies, at least 1.
    """
    cut: StudyBatch = _cut(batch, max_count)
    return cut


def _cut(value: Any, max_count: int) -> Any:
    if isinstance(value, Tensor | list):
        return value[:max_count]
    if is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: _cut(getattr(value, part.name), max_count) for part in fields(value)}
        return replace(value, **parts)
    return value  # the teacher's scale, or no teacher


def _telling(words: list[Word], named: Mapping[str, Any], max_count: int) -> list[Word]:
    """The words worth a map: those that name a finding, then the longest others."""
    first = {word.text.lower(): word for word in reversed(words) if word.text.lower() in named}
    longest = [word for word in informative(words, max_count) if word.text.lower() not in first]
    return ([*first.values()][::-1] + longest)[:max_count]


def _variety(groups: list[int]) -> list[int]:
    """All places, the first of every group before the others."""
    first = [groups.index(group) for group in dict.fromkeys(groups)]
    return first + [place for place in range(len(groups)) if place not in first]


def _numbers(values: Tensor) -> Array:
    numbers: Array = values.detach().double().cpu().numpy()
    return numbers
