"""Scores of a split of studies: retrieval, classes by prompts, agreement with the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.batch import StudyScores
from amif_lightning.errors import UserError
from amif_lightning.metrics.retrieval import relevant_studies, retrieval, zero_shot
from amif_lightning.metrics.study_features import SplitFeatures
from amif_lightning.metrics.teacher_agreement import teacher_divergence

KS = (1, 5, 10)
IMAGE_TO_TEXT, TEXT_TO_IMAGE = "image_to_text", "text_to_image"


def search(
    features: SplitFeatures,
    *,
    temperature: float,
    scale: float | None = None,
    same_weight: float = 0.01,
    prompts: Tensor | None = None,
    member: Tensor | None = None,
    ks: Sequence[int] = KS,
) -> StudyScores:
    """Score a split.

    Args:
        features: N studies.
        temperature: The model's temperature of image and text.
        scale: The teacher's logit scale; None where there is no teacher.
        same_weight: lambda, what equal samples add to the teacher's logits.
        prompts: (C, D) unit vectors of the classes; None where the data has none.
        member: (N, C) bool, the classes of each study; with ``prompts``.
        ks: Numbers of nearest neighbours.

    Raises:
        UserError: If a vector holds what is no number: ranks would still be found for it.
    """
    for vectors in (features.image, features.text):
        wrong = ~vectors.isfinite().all(1)
        if wrong.any():
            raise UserError(
                f"{int(wrong.sum())} of {len(features)} studies have vectors that are no numbers: "
                "the weights diverged; train again with a lower --model.init_args.lr."
            )
    precision, recall = {}, {}
    for name, queries, targets in (
        (IMAGE_TO_TEXT, features.image, features.text),
        (TEXT_TO_IMAGE, features.text, features.image),
    ):
        found = retrieval(queries, targets, features.relevance, ks)
        precision[name], recall[name] = (part.cpu() for part in found)
    classified = None
    if prompts is not None and member is not None:
        # Gathered vectors are float32 under every precision of the trainer.
        prompts = prompts.to(features.image)
        classified = zero_shot(features.image, prompts, member.to(features.image.device)).cpu()
    agrees = None
    if scale is not None:
        agrees = teacher_divergence(features, temperature, scale, same_weight)
    return StudyScores(
        tuple(ks),
        precision,
        recall,
        relevant_studies(features.relevance).cpu(),
        classified,
        agrees,
    )


def logged(scores: StudyScores, prefix: str) -> dict[str, float]:
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


def class_vectors(
    prompts: Mapping[str, Sequence[Tensor]], labels: Sequence[Sequence[str]]
) -> tuple[Tensor, Tensor]:
    """One vector per class, and which study belongs to which.

    Args:
        prompts: For each class the unit vectors (D,) of its sentences.
        labels: For each study the names of its classes.

    Returns:
        (C, D) the unit mean of each class's sentences, and (N, C) bool.
    """
    vectors = torch.stack([torch.stack(list(sentences)).mean(0) for sentences in prompts.values()])
    member = torch.tensor([[name in own for name in prompts] for own in labels], dtype=torch.bool)
    return F.normalize(vectors, dim=1), member
