"""Intervals and tests of scores: Wilson, bootstrap over images or patients, exact McNemar.

Questions about one image stand or fall together, so resampling draws images, each with all its
questions. A search is treated the same way: its queries are the questions, each with a share
instead of right or wrong, and the group of a study (its patient) is the image. numpy is imported
inside the functions: a report without files of lines needs none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
from fractions import Fraction

DRAWS = 2000
LEVEL = 0.95
# Below this many images the percentile bootstrap says little; no interval is given.
LEAST_IMAGES = 10
# Normal quantile of (1 + LEVEL) / 2, to double precision.
Z = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a share (0 to 1) or of a difference of shares (-1 to 1)."""

    low: float
    high: float


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


def wilson(correct: int, count: int) -> Interval:
    r"""Wilson's 95 % score interval for a share (Wilson 1927, JASA 22, 209-212).

    With p = correct / count and z the normal quantile:
    (p + z^2 / 2n ± z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

    Args:
        correct: Right answers.
        count: Questions, at least 1.

    Raises:
        ValueError: If the numbers are not 0 <= correct <= count with count >= 1.
    """
    if not 0 <= correct <= count or count < 1:
        raise ValueError(f"need 0 <= correct <= count and count >= 1, got {correct} of {count}")
    p, z2 = correct / count, Z * Z
    centre = p + z2 / (2 * count)
    reach = Z * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    scale = 1 + z2 / count
    # Exact at the ends, where rounding would leave -1e-17 or 0.9999999.
    low = 0.0 if correct == 0 else (centre - reach) / scale
    high = 1.0 if correct == count else (centre + reach) / scale
    return Interval(low, high)


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); the deviation is None for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def bootstrap_mean(
    correct: ArrayLike, images: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Percentile interval of the accuracy averaged over runs, resampling images.

    Args:
        correct: Whether each run (S) answers each question (Q) rightly, or a share from 0 to 1 in
            its place, shape (S, Q) or (Q,).
        images: The image of each question, length Q.
        draws: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The interval, or None with fewer than `LEAST_IMAGES` different images.

    Raises:
        ValueError: If the shapes do not fit.
    """
    return _bootstrap(_per_question(correct, len(images)), images, draws, seed)


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, images: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> Interval | None:
    """Percentile interval of accuracy(first) - accuracy(second), paired by question.

    Args:
        first: Right answers of the first configuration's runs, shape (S, Q) or (Q,).
        second: The same of the second configuration on the same questions, (T, Q) or (Q,).
        images: The image of each question, length Q.
        draws: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The interval, or None with fewer than `LEAST_IMAGES` different images.

    Raises:
        ValueError: If the shapes do not fit.
    """
    count = len(images)
    values = _per_question(first, count) - _per_question(second, count)
    return _bootstrap(values, images, draws, seed)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Exact two-sided McNemar test: the discordant questions against a fair coin.

    With b and c questions that only one side got right and n = b + c,
    p = min(1, 2 sum_{k <= min(b, c)} C(n, k) / 2^n).

    Args:
        first: Whether the first run answered each question rightly.
        second: The same of the second run, in the same order.

    Raises:
        ValueError: If the lengths differ.
    """
    pairs = list(zip(first, second, strict=True))
    b = sum(1 for x, y in pairs if x and not y)
    c = sum(1 for x, y in pairs if y and not x)
    n, term, tail = b + c, 1, 0
    for k in range(min(b, c) + 1):
        tail += term
        term = term * (n - k) // (k + 1)  # C(n, k + 1) from C(n, k), in whole numbers
    return McNemar(b, c, min(1.0, 2 * tail / 2**n))


def _per_question(correct: ArrayLike, count: int) -> np.ndarray:
    """Mean over runs per question, shape (Q,)."""
    import numpy as np

    values = np.atleast_2d(np.asarray(correct, dtype=np.float64))
    if values.ndim != 2 or values.shape[1] != count or values.shape[0] < 1:
        raise ValueError(f"need answers of shape (runs, {count}), got {values.shape}")
    return values.mean(axis=0)


def _bootstrap(values: np.ndarray, images: Sequence[str], draws: int, seed: int) -> Interval | None:
    """Percentile interval of the mean of ``values`` (Q,) when whole images are redrawn.

    A draw takes as many images as there are, with replacement; its value is the sum over the drawn
    images' questions divided by their number (a ratio, for images have unequal numbers of them).
    """
    import numpy as np

    names, which = np.unique(np.asarray(images, dtype=str), return_inverse=True)
    if len(names) < LEAST_IMAGES:
        return None
    sums = np.bincount(which, weights=values)
    sizes = np.bincount(which).astype(np.float64)
    # Sorted names and one generator: the interval does not depend on the order of the lines.
    drawn = np.random.default_rng(seed).integers(0, len(names), size=(draws, len(names)))
    ratios = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def rational(mean: float) -> Fraction:
    """The ratio of small whole numbers that ``mean`` is to double precision.

    A mean of shares is such a ratio of small denominator), but 0.3425 as a float lies beside
    it, and would be rounded down or up by chance.
    """
    return Fraction(mean).limit_denominator(10**7)
