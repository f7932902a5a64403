"""Retrieval scores of a whole split: neighbours, zero-shot classes, agreement with the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.batch import pad_tokens
from amif_lightning.errors import UserError
from amif_lightning.evaluation import StudyScores
from amif_lightning.metrics.gathered import SplitFeatures
from amif_lightning.metrics.retrieval import (
    relevant_studies,
    retrieval,
    teacher_divergence,
    zero_shot,
)

if TYPE_CHECKING:
    from amif_lightning.tasks.pretraining.local_alignment import LocalAlignmentTask

KS = (1, 5, 10)  # numbers of nearest neighbours


def study_scores(
    task: LocalAlignmentTask, features: SplitFeatures, data: Any, split: str
) -> StudyScores:
    """Score a split's gathered features, which must be finite (UserError); ``data`` may be None."""
    for vectors in (features.image, features.text):
        wrong = ~vectors.isfinite().all(1)
        if wrong.any():  # they would still get ranks
            raise UserError(
                f"{int(wrong.sum())} of {len(features)} studies have embeddings that are not "
                "finite: training diverged; train again with a lower --model.init_args.lr."
            )
    precision, recall = {}, {}
    for name, queries, targets in (
        ("image_to_text", features.image, features.text),
        ("text_to_image", features.text, features.image),
    ):
        found = retrieval(queries, targets, features.relevance, KS)
        precision[name], recall[name] = (part.cpu() for part in found)
    relevant = relevant_studies(features.relevance).cpu()
    classified = None if data is None else _classified(task, features, data, split)
    divergence = None
    if data is not None and data.teacher_table is not None:
        temperature, weight = task.image_text_temperature(), task.alignment.same_weight
        divergence = teacher_divergence(features, temperature, data.teacher_table.scale, weight)
    return StudyScores(KS, precision, recall, relevant, classified, divergence)


def _classified(
    task: LocalAlignmentTask, features: SplitFeatures, data: Any, split: str
) -> Tensor | None:
    """Return whether each image's nearest class (N,) is correct; None without classes."""
    prompts = data.class_prompts()
    if not prompts:
        return None
    labels = data.class_labels(split)
    means = []  # of the unit vectors of each class's sentences
    for texts in prompts.values():
        ids = [data.tokenizer.encode(text, data.max_text_tokens) for text in texts]
        tokens = pad_tokens(ids, data.tokenizer.pad_id).to(task.device)
        means.append(task.embed_text(task.text(tokens.ids, tokens.mask)).mean(0))
    # Gathered embeddings are float32 in every precision of the trainer.
    classes = F.normalize(torch.stack(means), dim=1).to(features.image)
    member = torch.tensor(
        [[name in labels[place] for name in prompts] for place in features.position.tolist()],
        device=classes.device,
    )
    return zero_shot(features.image, classes, member).cpu()


def logged(scores: StudyScores) -> dict[str, float]:
    """Average scores by tag: both directions apart (``image_to_text/recall@5``) and together."""
    values: dict[str, float] = {}
    for kind, table in (("precision", scores.precision), ("recall", scores.recall)):
        for row, k in enumerate(scores.ks):
            means = {name: float(found[row].mean()) for name, found in table.items()}
            values |= {f"{name}/{kind}@{k}": mean for name, mean in means.items()}
            values[f"{kind}@{k}"] = sum(means.values()) / len(means)
    if scores.zero_shot is not None:
        values["zero_shot"] = float(scores.zero_shot.double().mean())
    if scores.teacher_kl is not None:
        values["teacher_kl"] = scores.teacher_kl
    return values
