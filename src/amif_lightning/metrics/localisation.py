"""Whether a transport plan sends the words of a finding to where the finding is.

Letters used in shapes: L tokens of a text, P patches, g patches along a side, F findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amif_lightning.evaluation import Localised, Region
from amif_lightning.models.patch_grid import Array, covered
from amif_lightning.models.words import Word, proper


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


def named_places(words: Sequence[Word], names: frozenset[str]) -> list[int]:
    """Columns of all words that name a finding."""
    return [place for word in words if word.text.lower() in names for place in word.places]


def other_word(
    words: Sequence[Word], names: frozenset[str], rng: np.random.Generator
) -> Word | None:
    """One word that is no stop word and names no finding, drawn evenly; None without one.

    Args:
        words: Words of a text.
        names: Words that name any finding.
        rng: Draws.
    """
    others = [word for word in proper(words) if word.text.lower() not in names]
    return others[int(rng.integers(len(others)))] if others else None


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
        centres: (g,) see :func:`amif_lightning.models.patch_grid.patch_centres`.
        rng: Draws the control word.
    """
    moved = plan.sum(1) > 0
    words = [word for word in words if moved[list(word.places)].all()]
    control = other_word(words, frozenset().union(*names.values()), rng)
    other = np.zeros(plan.shape[1]) if control is None else mean_row(plan, control.places)
    found = []
    for region in regions:
        places = named_places(words, names[region.kind])
        if places and region.mask.any():  # else they are denied, or the token limit cut them off
            shares = covered(region.mask, centres)
            mass = mean_row(plan, places)
            found.append(FoundRegion(region.kind, float(region.mask.mean()), mass, other, shares))
    return found


def mean_row(plan: Array, places: Sequence[int]) -> Array:
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
        area: (F,) see :class:`FoundRegion`.
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
