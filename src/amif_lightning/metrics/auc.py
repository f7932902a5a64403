"""Area under the ROC curve of matching: how often an own pair scores above a negative."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    r"""Probability that a positive scores above a negative, ties counted by half.

    .. math:: AUC = \frac1{nm} \sum_{i,j} [p_i > n_j] + \tfrac12 [p_i = n_j]

    Args:
        positive: The n scores of own pairs, at least one.
        negative: The m scores of negatives, at least one.
    """
    ordered = sorted(negative)
    below = sum(bisect_left(ordered, p) + bisect_right(ordered, p) for p in positive)
    return below / (2 * len(positive) * len(ordered))
