"""Bootstrap of scores that are no plain mean over studies: areas under a curve, means of findings.

A draw takes clusters of studies with replacement, and seeds where there are several; a score is
computed with the studies' weights in the draw. Letters used in shapes: S seeds, N studies, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from amif_lightning.reports.analysis.statistics import (
    DRAWS,
    Interval,
    draw_clusters,
    percentiles,
)

Array = NDArray[np.float64]


class Measure(Protocol):
    """A score of every seed that depends on how often each study is counted."""

    def weighted(self, weights: Array) -> Array:
        """(D, S) scores for weights (D, N); NaN where nothing is left to score."""


@dataclass(frozen=True)
class Mean:
    """Sum of values over sum of counts.

    Attributes:
        totals: (S, N) sum of a study's values.
        counts: (S, N) how many values that are.
    """

    totals: Array
    counts: Array

    def weighted(self, weights: Array) -> Array:  # noqa: D102  # said by Measure
        counts = weights @ self.counts.T
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Array = np.where(counts > 0, weights @ self.totals.T / counts, np.nan)
        return means


@dataclass(frozen=True)
class Area:
    """Area under the curve: how often an own pair scores above a negative, ties by half.

    Attributes:
        own: (S, N) scores of own pairs.
        negative: (S, N) scores of negatives, NaN without one.
    """

    own: Array
    negative: Array

    def weighted(self, weights: Array) -> Array:  # noqa: D102  # said by Measure
        areas = []
        for own, negative in zip(self.own, self.negative, strict=True):
            there = np.flatnonzero(~np.isnan(negative))
            order = there[np.argsort(negative[there], kind="stable")]
            # Weight of the negatives up to each place of their order: no (N, N) table of pairs.
            mass = np.zeros((len(weights), len(order) + 1))
            np.cumsum(weights[:, order], axis=1, out=mass[:, 1:])
            below = mass[:, np.searchsorted(negative[order], own, "left")]
            up_to = mass[:, np.searchsorted(negative[order], own, "right")]
            pairs = weights.sum(1) * mass[:, -1]
            with np.errstate(invalid="ignore", divide="ignore"):
                wins = (weights * (below + up_to)).sum(1) / 2
                areas.append(np.where(pairs > 0, wins / pairs, np.nan))
        return np.stack(areas, axis=1)


def per_seed(measure: Measure, studies: int) -> list[float]:
    """The score of every seed with each study counted once."""
    return [float(value) for value in measure.weighted(np.ones((1, studies)))[0]]


def interval(
    first: Measure,
    second: Measure | None,
    clusters: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of a score averaged over seeds, or of the difference of two.

    Args:
        first: The score of S seeds.
        second: What is subtracted: the score of the same seeds in the same order; None: nothing.
        clusters: The cluster of each of the N studies.
        draws: D.
        seed: Seeds the draws.

    Returns:
        The interval; None with fewer than `LEAST_CLUSTERS` clusters, or where nothing is scored.
    """
    drawn = draw_clusters(clusters, draws, seed)
    if drawn is None:
        return None
    weights = drawn.times[:, drawn.which]
    scores = first.weighted(weights)
    if second is not None:
        scores = scores - second.weighted(weights)
    seeds = drawn.rng.integers(0, scores.shape[1], size=scores.shape)
    means = np.take_along_axis(scores, seeds, axis=1).mean(axis=1)
    means = means[~np.isnan(means)]
    return percentiles(means) if len(means) else None
