"""Localisation of findings by a transport plan: mass of a finding's words inside its region.

L tokens of a text, P patches, g patches along a side, F findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amif_lightning.evaluation import Localised, Region
from amif_lightning.models.words import Word, proper

Array = NDArray[np.float64]


class FoundRegion(NamedTuple):
    """One finding before it is compared with those of other studies."""

    kind: str
    area: float  # share of the image that its region covers
    mass: Array  # (P,) mass on the patches of the words that name it; sums to 1
    other: Array  # (P,) the same for one other word; all zero if the report has none
    shares: Array  # (P,) share of each patch's cell that the region covers, see `covered`


def found_regions(
    plan: Array,
    words: Sequence[Word],
    regions: Sequence[Region],
    names: Mapping[str, frozenset[str]],
    centres: Array,
    rng: np.random.Generator,
) -> list[FoundRegion]:
    """Return the findings of one image that its text names.

    Args:
        plan: (L, P) mass of words onto patches; zero rows for words that were not transported.
        words: Words of the text.
        regions: The findings that the image shows.
        names: The words that name each kind.
        centres: (g,) see :func:`covered`.
        rng: Draws the control: one word that is no stop word and names no finding.
    """
    moved = plan.sum(1) > 0
    words = [word for word in words if moved[list(word.places)].all()]
    naming = frozenset().union(*names.values())
    others = [word for word in proper(words) if word.text.lower() not in naming]
    other = np.zeros(plan.shape[1])
    if others:
        other = _mean_row(plan, others[int(rng.integers(len(others)))].places)
    found = []
    for region in regions:
        named = (word.places for word in words if word.text.lower() in names[region.kind])
        places = [place for columns in named for place in columns]
        if places and region.mask.any():  # else denied, or cut off by the token limit
            shares = covered(region.mask, centres)
            mass = _mean_row(plan, places)
            found.append(FoundRegion(region.kind, float(region.mask.mean()), mass, other, shares))
    return found


def _mean_row(plan: Array, places: Sequence[int]) -> Array:
    """Average rows of a plan (L, P) and scale to mass 1."""
    rows: Array = plan[list(places)].sum(0)
    return rows / rows.sum()


def localised(
    positions: Sequence[int],
    kinds: Sequence[str],
    area: Tensor,
    mass: Tensor,
    other: Tensor,
    shares: Tensor,
    seed: int = 0,
) -> tuple[Localised, ...]:
    """Measure the F findings of a split and their controls.

    ``positions`` are those of the findings' studies, ascending. Tensors (F,) or (F, P) hold the
    values of :class:`FoundRegion`. ``seed`` draws a control: another study's region of the same
    kind.
    """
    inside, other_inside = (mass * shares).sum(1), (other * shares).sum(1)
    has_other = other.sum(1) > 0
    rng = np.random.default_rng(seed)
    made = []
    for row, (position, kind) in enumerate(zip(positions, kinds, strict=True)):
        others = [
            i
            for i, (their, same) in enumerate(zip(positions, kinds, strict=True))
            if their != position and same == kind
        ]
        elsewhere = None
        if others:
            chosen = others[int(rng.integers(len(others)))]
            elsewhere = float(torch.dot(mass[row], shares[chosen]))
        made.append(
            Localised(
                position=position,
                kind=kind,
                area=float(area[row]),
                inside=float(inside[row]),
                other_word=float(other_inside[row]) if has_other[row] else None,
                elsewhere=elsewhere,
            )
        )
    return tuple(made)


def covered(mask: NDArray[np.bool_], centres: Array) -> Array:
    """Compute the share (g * g,) of each patch's cell that a region (H, W) covers, row by row.

    The cell is the area nearest to the patch's centre; pixels on a border are split. ``centres``
    (g,) of rows and columns are shares of the side, from the tower's `patch_centres`.
    """
    borders = np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [1.0]])
    down, across = (_overlap(borders, size) for size in mask.shape)
    shares: Array = down @ mask.astype(np.float64) @ across.T
    return shares.ravel()


def _overlap(borders: Array, pixels: int) -> Array:
    """Compute the share (g, pixels) of each interval between borders that each pixel covers."""
    low, high = borders[:-1, None], borders[1:, None]
    edges = np.arange(pixels + 1) / pixels
    shared = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
    return np.clip(shared, 0.0, None) / (high - low)
