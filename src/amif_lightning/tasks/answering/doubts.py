"""Reasons to distrust an answer, which are printed before it (I images, D feature width)."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.data.preprocessing.normalization import words_in
from amif_lightning.data.preprocessing.transforms import ImageTransform
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.tasks.answering.auxiliary_alignment import AuxiliaryTask

NO_RECORD = "No test result of this model is at hand, so nothing is known of its accuracy."
DOUBTS = "doubts"  # their key in a checkpoint that was read together with its records
SHOWN = 8  # maximum number of words in a warning
BATCH = 20  # images in one pass


class TrainingDomainTask(AuxiliaryTask):
    """Base of a task that stores what its training images and questions were like."""

    #: Sentences about every answer: the verdict of the model's own test.
    doubts: tuple[str, ...] = (NO_RECORD,)
    #: Optimizer steps before the features in the answer space were measured.
    measured = -1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store mean and scale of the features of training images, and their usual distance."""
        trainer = self._attached()
        if trainer is not None and trainer.state.fn == "fit" and self.space is not None:
            frozen = getattr(self.vision, "visual", self.vision) in self.frozen
            if not (frozen and self.space.image_limit) and self.measured != self.global_step:
                features = self._training_features(self._data().training_sample)
                self.space, self.measured = with_features(self.space, features), self.global_step
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the verdict that was found in the run folder of the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        self.doubts = tuple(checkpoint.get(DOUBTS, self.doubts))

    def image_features(self, tokens: Tensor) -> Tensor:
        """Average the patches of tokens (I, 1 + P, D) to features (I, D) in float64."""
        features: Tensor = self.vision.patches(tokens).double().mean(1)
        return features

    def _training_features(self, images: list[Tensor]) -> Tensor:
        # Nothing random: a resumed run measures the same. Every process measures the same images.
        transform = ImageTransform(self.image_size, "none")
        with evaluation_mode(self.vision):
            starts = range(0, len(images), BATCH)
            parts = (torch.stack([*map(transform, images[i : i + BATCH])]) for i in starts)
            like = next(self.vision.parameters())
            tokens = (self.vision(part.to(like)) for part in parts)
            return torch.cat([self.image_features(some).cpu() for some in tokens])


def with_features(space: AnswerSpace, features: Tensor) -> AnswerSpace:
    """Store mean, scale and 99th percentile of the distance of training features (I, D).

    The distance is the root mean square of the standardised features. Features that hardly vary
    have a tenth of the average scale. Weights that are not finite store nothing.
    """
    mean, scale = features.mean(0), features.std(0, correction=0)
    scale = scale.clamp_min(0.1 * float(scale.mean()))
    limit = float(distances(features, mean, scale).quantile(0.99))
    if not 0 < limit < math.inf:
        return replace(space, image_mean=(), image_scale=(), image_limit=0.0)
    return replace(
        space,
        image_mean=tuple(mean.tolist()),
        image_scale=tuple(scale.tolist()),
        image_limit=limit,
    )


def distances(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the distance (I,) of features (I, D) from the training images."""
    return ((features - mean) / scale).square().mean(1).sqrt()


def reasons(space: AnswerSpace, question: str, features: Tensor) -> list[str]:
    """Warn of an image with unusual features (D,), and of words no training question contains."""
    found = []
    unknown = [
        what
        for what, stored in (
            ("unusual images", space.image_limit),
            ("unknown words", space.question_words),
        )
        if not stored
    ]
    if unknown:
        found.append(
            f"This checkpoint does not store what is needed to notice {' and '.join(unknown)}."
        )
    if space.image_limit:
        mean, scale = torch.tensor([space.image_mean, space.image_scale], dtype=torch.float64)
        distance = float(distances(features.cpu()[None], mean, scale))
        if not distance <= space.image_limit:
            found.append(
                f"The image is unlike the training images: its features have the distance "
                f"{distance:.2f}, and 99 % of the training images at most {space.image_limit:.2f}."
            )
    known = set(space.question_words)
    unseen = [word for word in dict.fromkeys(words_in(question)) if word not in known]
    if known and unseen:
        more = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
        shown = ", ".join(json.dumps(word, ensure_ascii=False) for word in unseen[:SHOWN])
        found.append(f"Words that no training question contains: {shown}{more}.")
    return found
