"""Whole splits of studies: precision@k and recall@k, prompts, and agreement with the teacher.

Letters used in shapes: N studies, D width, K numbers of nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.alignment import soft_labels
from amif_lightning.metrics.gathered import SplitFeatures

ROWS = 512  # queries that are compared with the whole split at once


def retrieval(
    queries: Tensor, targets: Tensor, relevance: Tensor, ks: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Search every study's other modality among all studies.

    Precision@k is the share of relevant studies among the k nearest, where studies with equal
    finding vectors are relevant (paper, retrieval on CheXpert 5x200). Recall@k is whether the own
    study is among the k nearest. Of equally similar studies the earlier in the split is nearer, so
    nothing depends on the number of processes.

    Args:
        queries: (N, D) features of the modality that searches, of unit norm.
        targets: (N, D) features of the modality that is found, of unit norm.
        relevance: (N,) long, equal where two studies are relevant to each other.
        ks: The K numbers k of at least 1; one beyond N counts what there is.

    Returns:
        Precision (K, N) and recall (K, N), both float64.

    Example:
        >>> features = torch.eye(3)
        >>> precision, recall = retrieval(
        ...     features, features[[0, 2, 1]], torch.tensor([7, 8, 8]), ks=[1]
        ... )
        >>> precision.tolist(), recall.tolist()
        ([[1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]])
    """
    count = len(queries)
    deepest = min(max(ks), count)
    precision, recall = [], []
    for start in range(0, count, ROWS):
        rows = slice(start, start + ROWS)
        # A stable sort keeps equally similar studies in the split's order.
        order = (queries[rows] @ targets.T).sort(stable=True, dim=1, descending=True).indices
        nearest = order[:, :deepest]
        relevant = (relevance[nearest] == relevance[rows, None]).double()
        own = (nearest == torch.arange(count, device=nearest.device)[rows, None]).double()
        precision.append(torch.stack([relevant[:, :k].mean(1) for k in ks]))
        recall.append(torch.stack([own[:, :k].sum(1) for k in ks]))
    return torch.cat(precision, 1), torch.cat(recall, 1)


def relevant_studies(relevance: Tensor) -> Tensor:
    """Count for each study (N,) those of equal relevance (N,), itself included."""
    _, index, counts = relevance.unique(return_inverse=True, return_counts=True)
    return counts[index]


def zero_shot(images: Tensor, prompts: Tensor, member: Tensor) -> Tensor:
    """Whether (N,) bool the class whose prompt is nearest to the image is one of the study's.

    Args:
        images: (N, D) features of unit norm.
        prompts: (C, D) one vector per class, of unit norm.
        member: (N, C) bool, the classes that each study belongs to.
    """
    nearest = (images @ prompts.T).argmax(1)
    return member.gather(1, nearest[:, None])[:, 0]


def teacher_divergence(
    features: SplitFeatures, temperature: float, scale: float, same_weight: float = 0.01
) -> float:
    r"""Mean of KL(teacher || model) over studies and both directions, in nats.

    .. math:: \tfrac{1}{2N} \sum_i KL(q_i \| \mathrm{softmax}(s_{i\cdot}))
              + KL(q'_i \| \mathrm{softmax}(s_{\cdot i}))

    The image-text loss with soft labels, over the whole split instead of a batch; so it grows with
    the split, and only values over the same split compare.

    Args:
        features: The split's features, with the teacher's.
        temperature: The model's temperature tau.
        scale: The teacher's logit scale, a natural logarithm.
        same_weight: lambda, what equal samples add to the teacher's logits.
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
