"""What pre-training compares, a vector per image and report, and how it searches splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amif_lightning.batch import StudyBatch, pad_tokens
from amif_lightning.errors import UserError
from amif_lightning.evaluation import PairScores, StudyScores
from amif_lightning.metrics.gathered import SplitFeatures, StudyFeatures
from amif_lightning.metrics.retrieval import (
    relevant_studies,
    retrieval,
    teacher_divergence,
    zero_shot,
)
from amif_lightning.models.fusion import EncodedPair, global_embedding
from amif_lightning.signatures import Unpack
from amif_lightning.tasks.base import AMiFTask
from amif_lightning.tasks.options import TaskOptions

KS = (1, 5, 10)  # numbers of nearest neighbours


class SearchedTask(AMiFTask, ABC):
    """Base of a task on studies: it embeds images and reports and is judged by a search.

    Validation and test keep the features of a whole split, gathered exactly from all processes, and
    log retrieval in both directions, classes by prompts where the data has classes, and the
    divergence from the teacher where it has one.

    Args:
        shared_projection: Whether one projection per modality serves both the alignment and the
            fusion layers, as released.
        **kwargs: Arguments of :class:`AMiFTask`.
    """

    def __init__(self, shared_projection: bool = True, **kwargs: Unpack[TaskOptions]) -> None:
        super().__init__(**kwargs)
        self.projections = (
            None
            if shared_projection
            else nn.ModuleList(
                nn.Linear(width, self.fusion.width)
                for width in (self.text.width, self.vision.width)
            )
        )
        self.study_scores: StudyScores | None = None  # of the split that was searched last

    @abstractmethod
    def image_text_temperature(self) -> float:
        """The temperature of images and texts."""

    @property
    @abstractmethod
    def same_weight(self) -> float:
        """What equal samples add to the teacher's logits (lambda)."""

    def setup(self, stage: str) -> None:
        """Prepare the search of whole splits, with the teacher's features where there are some.

        Raises:
            UserError: If the data module gives no studies.
        """
        data = self._data()
        if data is not None and not hasattr(data, "teacher_table"):
            raise UserError(
                f"{type(self).__name__} learns from studies and {type(data).__name__} gives "
                "questions: give --data a class of studies, such as PhantomStudies."
            )
        super().setup(stage)
        taught = data is not None and data.teacher_table is not None
        self.features = StudyFeatures(teacher=taught)

    # ---- features -----------------------------------------------------------------------------

    @property
    def text_layer(self) -> nn.Module:
        """The projection that texts are aligned through."""
        return self.fusion.text_projection if self.projections is None else self.projections[0]

    @property
    def image_layer(self) -> nn.Module:
        """The projection that images are aligned through."""
        return self.fusion.image_projection if self.projections is None else self.projections[1]

    def embed_text(self, states: Tensor) -> Tensor:
        """Unit vectors (B, D) of the text encoder's states (B, L, text width)."""
        return global_embedding(self.text_layer, states)

    def embed_image(self, tokens: Tensor) -> Tensor:
        """Unit vectors (I, D) of the image tower's tokens (I, 1 + P, image width)."""
        return global_embedding(self.image_layer, tokens)

    def fuse(self, states: Tensor, mask: Tensor, tokens: Tensor) -> EncodedPair:
        """Fuse text states (B, L, text width) with as many images' tokens."""
        words, patches = self.fusion(states, mask, tokens)
        return EncodedPair(states, tokens, words, patches, mask)

    # ---- validation and test ------------------------------------------------------------------

    def validation_step(self, batch: StudyBatch, batch_idx: int) -> None:
        """Keep the features; scores need the whole split."""
        self.look(batch, "validation")

    def test_step(self, batch: StudyBatch, batch_idx: int) -> None:
        """Keep the features; scores need the whole split."""
        self.look(batch, "test")

    def look(self, batch: StudyBatch, split: str) -> tuple[Tensor, Tensor]:
        """Keep the features of view 1 and report of B studies.

        Returns:
            Text states (B, L, text width) and image tokens (B, 1 + P, image width).
        """
        states, tokens = self.text(batch.text.ids, batch.text.mask), self.vision(batch.first)
        self.features.update(
            position=batch.position,
            image=self.embed_image(tokens),
            text=self.embed_text(states),
            relevance=batch.relevance,
            study=batch.study,
            text_id=batch.text_id,
            teacher_image=None if batch.teacher is None else batch.teacher.first,
            teacher_text=None if batch.teacher is None else batch.teacher.text,
        )
        return states, tokens

    def on_validation_epoch_end(self) -> None:
        """Log retrieval in both directions, classification, and agreement with the teacher."""
        self._score("val", "validation")

    def on_test_epoch_end(self) -> None:
        """Log the same of the test split, and keep what single studies scored for the record."""
        self._score("test", "test")

    def _score(self, prefix: str, split: str) -> None:
        data = self._data()
        features = self.features.compute()
        self.features.reset()
        for vectors in (features.image, features.text):
            wrong = ~vectors.isfinite().all(1)
            if wrong.any():  # ranks would still be found for them
                raise UserError(
                    f"{int(wrong.sum())} of {len(features)} studies have vectors that are no "
                    "numbers: the weights diverged; train again with a lower "
                    "--model.init_args.lr."
                )
        precision, recall = {}, {}
        for name, queries, targets in (
            ("image_to_text", features.image, features.text),
            ("text_to_image", features.text, features.image),
        ):
            found = retrieval(queries, targets, features.relevance, KS)
            precision[name], recall[name] = (part.cpu() for part in found)
        table = None if data is None else data.teacher_table
        self.study_scores = StudyScores(
            KS,
            precision,
            recall,
            relevant_studies(features.relevance).cpu(),
            self._classified(data, features, split),
            None
            if table is None
            else teacher_divergence(
                features, self.image_text_temperature(), table.scale, self.same_weight
            ),
            self.pair_scores(features, split, prefix),
        )
        # Computed from gathered features, so equal in all processes: nothing is averaged.
        self.log_dict(_logged(self.study_scores, prefix), rank_zero_only=False)

    @abstractmethod
    def pair_scores(self, features: SplitFeatures, split: str, prefix: str) -> PairScores | None:
        """Score single pairs, and log them under names that begin with ``prefix``."""

    def _classified(self, data: Any, features: SplitFeatures, split: str) -> Tensor | None:
        """Which images (N,) are nearest to one of their classes; None where data has no classes."""
        if data is None or not data.class_prompts():
            return None
        prompts, labels = data.class_prompts(), data.class_labels(split)
        # The unit mean of each class's sentences. Gathered vectors are float32 under every
        # precision of the trainer.
        means = torch.stack([self._embed(data, texts).mean(0) for texts in prompts.values()])
        classes = F.normalize(means, dim=1).to(features.image)
        member = torch.tensor(
            [[name in labels[place] for name in prompts] for place in features.position.tolist()],
            device=classes.device,
        )
        return zero_shot(features.image, classes, member).cpu()

    def _embed(self, data: Any, texts: list[str]) -> Tensor:
        """Unit vectors (N, D) of sentences."""
        ids = [data.tokenizer.encode(text, data.max_text_tokens) for text in texts]
        tokens = pad_tokens(ids, data.tokenizer.pad_id).to(self.device)
        return self.embed_text(self.text(tokens.ids, tokens.mask))


def _logged(scores: StudyScores, prefix: str) -> dict[str, float]:
    """Mean scores by the name they are logged under.

    Both directions apart (``val/image_to_text/precision@5``) and their mean (``val/precision@5``).
    """
    values: dict[str, float] = {}
    for kind, table in (("precision", scores.precision), ("recall", scores.recall)):
        for row, k in enumerate(scores.ks):
            means = {name: float(found[row].mean()) for name, found in table.items()}
            values |= {f"{prefix}/{name}/{kind}@{k}": mean for name, mean in means.items()}
            values[f"{prefix}/{kind}@{k}"] = sum(means.values()) / len(means)
    if scores.zero_shot is not None:
        values[f"{prefix}/zero_shot"] = float(scores.zero_shot.double().mean())
    if scores.teacher_kl is not None:
        values[f"{prefix}/teacher_kl"] = scores.teacher_kl
    return values
