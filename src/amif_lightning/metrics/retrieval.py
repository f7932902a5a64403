"""Retrieval metrics of a split (N studies, D width, K numbers of nearest neighbours)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.alignment import soft_labels
from amif_lightning.metrics.gathered import SplitFeatures

ROWS = 512  # queries compared with the whole split at once


def retrieval(
    queries: Tensor, targets: Tensor, relevance: Tensor, ks: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Rank all studies by the similarity of their other modality to every query.

    Precision@k is the share of relevant studies among the k nearest; studies with equal finding
    vectors are relevant (paper, retrieval on CheXpert 5x200). Recall@k is whether the own study is
    among the k nearest. Ties keep split order, so results do not depend on the number of processes.

    Args:
        queries: (N, D) unit features of the query modality.
        targets: (N, D) unit features of the other modality.
        relevance: (N,) long, equal for studies that are relevant to each other.
        ks: The K numbers k of at least 1; k above N counts as N.

    Returns:
        Precision (K, N) and recall (K, N), both float64.

    Example:
        >>> features = torch.eye(3)
        >>> found = retrieval(features, features[[0, 2, 1]], torch.tensor([7, 8, 8]), ks=[1])
        >>> [values.tolist() for values in found]
        [[[1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]]]
    """
    count = len(queries)
    deepest = min(max(ks), count)
    precision, recall = [], []
    for start in range(0, count, ROWS):
        rows = slice(start, start + ROWS)
        order = (queries[rows] @ targets.T).sort(stable=True, dim=1, descending=True).indices
        nearest = order[:, :deepest]
        relevant = (relevance[nearest] == relevance[rows, None]).double()
        own = (nearest == torch.arange(count, device=nearest.device)[rows, None]).double()
        precision.append(torch.stack([relevant[:, :k].mean(1) for k in ks]))
        recall.append(torch.stack([own[:, :k].sum(1) for k in ks]))
    return torch.cat(precision, 1), torch.cat(recall, 1)


def relevant_studies(relevance: Tensor) -> Tensor:
    """Count the studies of equal relevance (N,) for each study, including itself: (N,)."""
    _, index, counts = relevance.unique(return_inverse=True, return_counts=True)
    return counts[index]


def zero_shot(images: Tensor, prompts: Tensor, member: Tensor) -> Tensor:
    """Return (N,) bool, whether the class with the nearest prompt is one of the study's classes.

    ``images`` (N, D) and ``prompts`` (C, D) are unit features; ``member`` (N, C) bool marks the
    classes of each study.
    """
    nearest = (images @ prompts.T).argmax(1)
    return member.gather(1, nearest[:, None])[:, 0]


def teacher_divergence(
    features: SplitFeatures, temperature: float, scale: float, same_weight: float = 0.01
) -> float:
    r"""Compute the mean of KL(teacher || model) over studies and both directions, in nats.

    .. math:: \tfrac{1}{2N} \sum_i KL(q_i \| \mathrm{softmax}(s_{i\cdot}))
              + KL(q'_i \| \mathrm{softmax}(s_{\cdot i}))

    This is the image-text loss with soft labels over the whole split. It grows with the split, so
    only values of the same split are comparable. ``features`` include the teacher's,
    ``temperature`` is the model's, ``scale`` the teacher's logit scale (a natural logarithm), and
    ``same_weight`` lambda, added to the teacher's logits of equal samples.
    """
    assert features.teacher_image is not None
    assert features.teacher_text is not None
    image, text = features.image.double(), features.text.double()
    teacher_image, teacher_text = features.teacher_image.double(), features.teacher_text.double()
    total = 0.0
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        same = (features.study[rows, None] == features.study) | (
            features.text_id[rows, None] == features.text_id
        )
        for own, other, own_teacher, other_teacher in (
            (image, text, teacher_image, teacher_text),
            (text, image, teacher_text, teacher_image),
        ):
            labels = soft_labels(own_teacher[rows], other_teacher, scale, same, same_weight)
            scores = (own[rows] @ other.T / temperature).log_softmax(1)
            total += float(F.kl_div(scores, labels, reduction="sum"))
    return total / (2 * len(features))
