"""Whether a transport plan sends the words of a finding to where the finding is.

Letters used in shapes: L tokens of a text, P patches, g patches along a side, F findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amif_lightning.evaluation import Localised, Region
from amif_lightning.models.words import Word, proper

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FoundRegion:
    """One finding before it is compared with those of other studies.

    Attributes:
        kind: What it is.
        area: Its region's share of the image.
        mass: (P,) mass of the words that name it over the patches; sums to 1.
        other: (P,) the same of one other word; all zero where the report has none.
        shares: (P,) share of each patch's part of the image that the region covers.
    """

    kind: str
    area: float
    mass: Array
    other: Array
    shares: Array


def found_regions(
    plan: Array,
    words: Sequence[Word],
    regions: Sequence[Region],
    names: Mapping[str, frozenset[str]],
    centres: Array,
    rng: np.random.Generator,
) -> list[FoundRegion]:
    """The findings of one image whose words are in its text.

    Args:
        plan: (L, P) mass of words onto patches; zero rows on words that took no part.
        words: Words of the text.
        regions: The findings that the image shows.
        names: By kind the words that name it; none of them is a control.
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
        if places and region.mask.any():  # else they are denied, or the token limit cut them off
            shares = covered(region.mask, centres)
            mass = _mean_row(plan, places)
            found.append(FoundRegion(region.kind, float(region.mask.mean()), mass, other, shares))
    return found


def _mean_row(plan: Array, places: Sequence[int]) -> Array:
    """Mean of rows of a plan (L, P), scaled to mass 1."""
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
    """Measure the findings of a whole split, each beside its controls.

    Args:
        positions: F places of the studies that they are of, rising.
        kinds: F kinds.
        area: (F,) see :class:`FoundRegion`, as for the next three.
        mass: (F, P).
        other: (F, P).
        shares: (F, P).
        seed: Draws the other study whose region of the same kind is the control.
    """
    inside = (mass * shares).sum(1)
    spoken = other.sum(1) > 0
    beside = (other * shares).sum(1)
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
                other_word=float(beside[row]) if spoken[row] else None,
                elsewhere=elsewhere,
            )
        )
    return tuple(made)


def covered(mask: NDArray[np.bool_], centres: Array) -> Array:
    """How much a region covers of each patch's part: what is nearest to the patch's centre.

    Args:
        mask: (H, W) the region.
        centres: (g,) of rows and columns as shares of the side, from the tower's `patch_centres`.

    Returns:
        (g * g,) shares from 0 to 1, row by row; a pixel on a border counts by its parts.
    """
    borders = np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [1.0]])
    down, across = (_overlap(borders, size) for size in mask.shape)
    shares: Array = down @ mask.astype(np.float64) @ across.T
    return shares.ravel()


def _overlap(borders: Array, pixels: int) -> Array:
    """(g, pixels) share of each interval between borders that each pixel takes."""
    low, high = borders[:-1, None], borders[1:, None]
    edges = np.arange(pixels + 1) / pixels
    shared = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
    return np.clip(shared, 0.0, None) / (high - low)
