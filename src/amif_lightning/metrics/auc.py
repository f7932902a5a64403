"""Area under the ROC curve of image-text matching."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    r"""Estimate the probability that a positive scores above a negative; ties count half.

    .. math:: AUC = \frac1{nm} \sum_{i,j} [p_i > n_j] + \tfrac12 [p_i = n_j]

    with n scores of matched pairs and m of negatives, at least one each.
    """
    ordered = sorted(negative)
    below = sum(bisect_left(ordered, p) + bisect_right(ordered, p) for p in positive)
    return below / (2 * len(positive) * len(ordered))
