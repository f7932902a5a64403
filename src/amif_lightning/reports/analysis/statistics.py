"""Intervals and tests of scores. S seeds, Q lines, D draws, C clusters.

Questions about one image, or studies of one patient, are dependent: the bootstrap resamples these
clusters.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amif_lightning.evaluation import Count

Array = NDArray[np.float64]
DRAWS = 2000
LEVEL = 0.95
# With fewer clusters the percentile bootstrap is unreliable; no interval is given.
MIN_CLUSTERS = 10


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a share (0 to 1) or of a difference of shares (-1 to 1)."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Estimate:
    """A score or a difference of two: mean over seeds, 95 % interval if any, and value by seed.

    The interval of a difference is paired by line, unless one side is a fixed number.
    """

    value: float
    span: Interval | None
    seeds: Mapping[int, float] = field(default_factory=dict)
    paired: bool = True


@cache
def wilson(score: Count) -> Interval:
    """Wilson's 95 % score interval for a share (Wilson 1927, JASA 22, 209-212)."""
    from scipy.stats import binomtest  # slow to import

    found = binomtest(score.correct, score.count).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar(first: Sequence[float], second: Sequence[float]) -> tuple[int, int, float]:
    """Exact two-sided McNemar test of two runs on the same questions, in the same order.

    Returns:
        The number of questions that only the first run answered correctly, the number for the
        second, and the p-value.
    """
    from scipy.stats import binomtest

    pairs = list(zip(first, second, strict=True))
    b = sum(1 for x, y in pairs if x and not y)
    c = sum(1 for x, y in pairs if y and not x)
    return b, c, float(binomtest(b, b + c).pvalue) if b + c else 1.0


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); the deviation is None for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


# ---- bootstrap of plain means ------------------------------------------------------------------


def bootstrap_mean(
    scores: ArrayLike, clusters: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Percentile interval of the mean over seeds, resampling clusters; None below `MIN_CLUSTERS`.

    Args:
        scores: Scores from 0 to 1, shape (S, Q) or (Q,).
        clusters: The cluster of each line, length Q.
        draws: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If the shapes do not fit.
    """
    values = _per_line(scores, len(clusters))
    drawn = _draw_clusters(tuple(clusters), draws, seed)
    if drawn is None:
        return None
    which, times, _ = drawn
    # Clusters have unequal numbers of lines: the value of a draw is a ratio.
    sums = times @ np.bincount(which, weights=values)
    return _percentiles(sums / (times @ np.bincount(which)))


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, clusters: Sequence[str], **options: int
) -> Interval | None:
    """`bootstrap_mean` of mean score(first) - mean score(second), paired by line.

    Both have the same Q lines; their numbers of seeds may differ.
    """
    count = len(clusters)
    values = _per_line(first, count) - _per_line(second, count)
    return bootstrap_mean(values, clusters, **options)


def _per_line(scores: ArrayLike, count: int) -> Array:
    values = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != count or values.shape[0] < 1:
        raise ValueError(f"need scores of shape (runs, {count}), got {values.shape}")
    means: Array = values.mean(axis=0)
    return means


@lru_cache(maxsize=8)  # configurations on the same questions share the draws of their subsets
def _draw_clusters(
    clusters: tuple[str, ...], draws: int, seed: int
) -> tuple[NDArray[np.int64], Array, np.random.Generator] | None:
    """Draw clusters; return the cluster of each line (Q,), counts (D, C) and the generator."""
    # Sorted names and one generator: the draws do not depend on the order of the lines.
    names, which = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    count = len(names)
    if count < MIN_CLUSTERS:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count, size=(draws, count))
    # One count over all draws: each draw has its own cells.
    cells = drawn + count * np.arange(draws)[:, None]
    times = np.bincount(cells.ravel(), minlength=draws * count).reshape(draws, count)
    return which, times.astype(np.float64), rng


def _percentiles(values: Array) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


# ---- bootstrap of areas and of means of findings -----------------------------------------------


@dataclass(frozen=True)
class Mean:
    """Sum of values over sum of counts."""

    totals: Array  # (S, Q) sum of a line's values
    counts: Array  # (S, Q) number of these values

    def weighted(self, weights: Array) -> Array:
        """Scores (D, S) for weights (D, Q) of the lines; NaN if no line is scored."""
        counts = weights @ self.counts.T
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Array = np.where(counts > 0, weights @ self.totals.T / counts, np.nan)
        return means


@dataclass(frozen=True)
class Area:
    """Area under the curve: the probability that an own pair scores above a negative, ties by half.

    ``own`` and ``negative`` are scores of shape (S, Q); ``negative`` is NaN without a negative.
    """

    own: Array
    negative: Array

    def weighted(self, weights: Array) -> Array:
        """Areas (D, S) for weights (D, Q) of the lines; NaN if no line is scored."""
        areas = []
        for own, negative in zip(self.own, self.negative, strict=True):
            there = np.flatnonzero(~np.isnan(negative))
            order = there[np.argsort(negative[there], kind="stable")]
            # Weight of the negatives up to each place of their order: no (Q, Q) table of pairs.
            mass = np.zeros((len(weights), len(order) + 1))
            np.cumsum(weights[:, order], axis=1, out=mass[:, 1:])
            below = mass[:, np.searchsorted(negative[order], own, "left")]
            up_to = mass[:, np.searchsorted(negative[order], own, "right")]
            pairs = weights.sum(1) * mass[:, -1]
            with np.errstate(invalid="ignore", divide="ignore"):
                wins = (weights * (below + up_to)).sum(1) / 2
                areas.append(np.where(pairs > 0, wins / pairs, np.nan))
        return np.stack(areas, axis=1)


Measure = Mean | Area


def bootstrap_measure(
    first: Measure, second: Measure | None, clusters: Sequence[str], *, draws: int = DRAWS
) -> Interval | None:
    """Percentile interval of a measure averaged over seeds, resampling clusters and seeds.

    ``second`` is subtracted from it, with the same seeds in the same order. None with fewer than
    `MIN_CLUSTERS` clusters, or if no line is scored.
    """
    drawn = _draw_clusters(tuple(clusters), draws, 0)
    if drawn is None:
        return None
    which, times, rng = drawn
    weights = times[:, which]
    scores = first.weighted(weights)
    if second is not None:
        scores = scores - second.weighted(weights)
    # A copy: the next call continues from the same state.
    seeds = deepcopy(rng).integers(0, scores.shape[1], size=scores.shape)
    means = np.take_along_axis(scores, seeds, axis=1).mean(axis=1)
    means = means[~np.isnan(means)]
    return _percentiles(means) if len(means) else None
