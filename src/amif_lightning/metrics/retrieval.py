"""How well one modality finds the other in a whole split: precision@k and recall@k.

Letters used in shapes: N studies, D width, K numbers of nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
    if not ks or min(ks) < 1:
        raise ValueError(f"expected numbers of at least 1, got {list(ks)}")
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
    """How many studies (N,) are relevant to each, itself included.

    Args:
        relevance: (N,) long, equal where two studies are relevant to each other.
    """
    _, index, counts = relevance.unique(return_inverse=True, return_counts=True)
    return counts[index]


def zero_shot(images: Tensor, prompts: Tensor, member: Tensor) -> Tensor:
    """Classify images by the class whose prompt is nearest, without having been trained for it.

    Args:
        images: (N, D) features of unit norm.
        prompts: (C, D) one vector per class, of unit norm.
        member: (N, C) bool, the classes that each study belongs to.

    Returns:
        (N,) bool, whether the nearest class is one of the study's.
    """
    nearest = (images @ prompts.T).argmax(1)
    return member.gather(1, nearest[:, None])[:, 0]
