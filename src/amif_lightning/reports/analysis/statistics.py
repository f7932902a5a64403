"""Intervals and tests of scores: Wilson, bootstrap over clusters, exact McNemar.

Questions about one image stand or fall together, as do studies of one patient, so resampling draws
clusters, each with all its lines. numpy and scipy are imported inside the functions: a report
without files of lines needs neither.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from amif_lightning.evaluation import Count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

DRAWS = 2000
LEVEL = 0.95
# Below this many clusters the percentile bootstrap says little; no interval is given.
LEAST_CLUSTERS = 10


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
    """A score of a configuration, or a difference of two.

    Attributes:
        value: The mean over seeds.
        span: Its 95 % interval; None where none can be drawn.
        seeds: Its value by seed.
        paired: Of a difference, whether the interval is paired by line; otherwise the other side is
            taken as a fixed number.
    """

    value: float
    span: Interval | None
    seeds: Mapping[int, float] = field(default_factory=dict)
    paired: bool = True


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of two runs on the same questions.

    Attributes:
        first_only: Questions only the first run answered rightly.
        second_only: Questions only the second run answered rightly.
        p: Two-sided exact p-value.
    """

    first_only: int
    second_only: int
    p: float


def wilson(score: Count) -> Interval:
    """Wilson's 95 % score interval for a share (Wilson 1927, JASA 22, 209-212)."""
    from scipy.stats import binomtest

    found = binomtest(score.correct, score.count).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def mcnemar(first: Sequence[float], second: Sequence[float]) -> McNemar:
    """Exact two-sided McNemar test: the discordant questions against a fair coin.

    Args:
        first: Whether the first run answered each question rightly.
        second: The same of the second run, in the same order.

    Raises:
        ValueError: If the lengths differ.
    """
    from scipy.stats import binomtest

    pairs = list(zip(first, second, strict=True))
    b = sum(1 for x, y in pairs if x and not y)
    c = sum(1 for x, y in pairs if y and not x)
    return McNemar(b, c, float(binomtest(b, b + c).pvalue) if b + c else 1.0)


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); the deviation is None for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def bootstrap_mean(
    scores: ArrayLike, clusters: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Percentile interval of the score averaged over runs, resampling clusters.

    Args:
        scores: Score from 0 to 1 of each run (S) on each line (Q), shape (S, Q) or (Q,).
        clusters: The cluster of each line, length Q.
        draws: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The interval, or None with fewer than `LEAST_CLUSTERS` different clusters.

    Raises:
        ValueError: If the shapes do not fit.
    """
    import numpy as np

    drawn = draw_clusters(clusters, draws, seed)
    values = _per_line(scores, len(clusters))
    if drawn is None:
        return None
    # Clusters have unequal numbers of lines: the value of a draw is a ratio.
    sums = drawn.times @ np.bincount(drawn.which, weights=values)
    return percentiles(sums / (drawn.times @ np.bincount(drawn.which)))


def bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """The same of mean score(first) - mean score(second), paired by line.

    Args:
        first: Scores of the first configuration's runs, shape (S, Q) or (Q,).
        second: Those of the second configuration on the same lines, (T, Q) or (Q,).
        clusters: The cluster of each line, length Q.
        draws: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If the shapes do not fit.
    """
    count = len(clusters)
    values = _per_line(first, count) - _per_line(second, count)
    return bootstrap_mean(values, clusters, draws=draws, seed=seed)


def _per_line(scores: ArrayLike, count: int) -> np.ndarray:
    """Mean over runs per line, shape (Q,)."""
    import numpy as np

    values = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != count or values.shape[0] < 1:
        raise ValueError(f"need scores of shape (runs, {count}), got {values.shape}")
    return values.mean(axis=0)


@dataclass(frozen=True)
class DrawnClusters:
    """Clusters that were drawn with replacement, as many as there are.

    Attributes:
        which: (Q,) the place of each line's cluster among the C clusters.
        times: (D, C) float64, how often each draw holds each cluster.
        rng: The generator, for further draws.
    """

    which: np.ndarray
    times: np.ndarray
    rng: np.random.Generator


def draw_clusters(clusters: Sequence[str], draws: int, seed: int) -> DrawnClusters | None:
    """Draw clusters; None with fewer than `LEAST_CLUSTERS` different ones."""
    import numpy as np

    # Sorted names and one generator: the draws do not depend on the order of the lines.
    names, which = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    count = len(names)
    if count < LEAST_CLUSTERS:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count, size=(draws, count))
    # One count over all draws: each draw has its own cells.
    cells = drawn + count * np.arange(draws)[:, None]
    times = np.bincount(cells.ravel(), minlength=draws * count).reshape(draws, count)
    return DrawnClusters(which, times.astype(np.float64), rng)


def percentiles(values: np.ndarray) -> Interval:
    """The interval of `LEVEL` that drawn values (D,) give."""
    import numpy as np

    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
