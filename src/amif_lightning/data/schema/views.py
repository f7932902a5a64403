"""Selection of the two images of a study that are compared as its views."""

from __future__ import annotations

from collections.abc import Sequence

import torch

# View names of the released data sets. PA and AP differ only in the direction of the beam. In
# MIMIC-CXR, LLD and RLD (the patient lies on the side) and the tilted AP AXIAL are frontal, and XTL
# (across the table) is lateral.
_FRONTAL = (
    *("frontal", "pa", "ap", "antero-posterior", "postero-anterior", "ap axial"),
    *("ap lld", "ap rld", "pa lld", "pa rld"),
)
_LATERAL = ("lateral", "ll", "rl", "lat", "xtl")
_KINDS = {**dict.fromkeys(_FRONTAL, "frontal"), **dict.fromkeys(_LATERAL, "lateral")}


def kind_of(view: str) -> str:
    """Return ``frontal``, ``lateral``, another released word in lower case, or empty if unknown."""
    word = view.strip().lower()
    return _KINDS.get(word, word)


def draw_views(views: Sequence[str], seed: int) -> tuple[int, int]:
    """Draw the positions of view 1 and view 2 for training; equal only for a single image.

    The draw is uniform over ordered pairs of images of different known kinds, so each kind is view
    1 as often as view 2. Without such a pair, it is uniform over ordered pairs of distinct images.
    """
    kinds = [kind_of(view) for view in views]
    places = range(len(kinds))
    pairs = [(i, j) for i in places for j in places if kinds[i] and kinds[j]]
    pairs = [(i, j) for i, j in pairs if kinds[i] != kinds[j]]
    pairs = pairs or [(i, j) for i in places for j in places if i != j] or [(0, 0)]
    generator = torch.Generator().manual_seed(seed)
    return pairs[int(torch.randint(len(pairs), (1,), generator=generator))]


def fixed_views(views: Sequence[str]) -> tuple[int, int]:
    """Return the positions of view 1 and view 2 for validation and test.

    View 1 is the first frontal image, else the first image. View 2 is the first image of another
    known kind, else the first other image, else view 1.
    """
    kinds = [kind_of(view) for view in views]
    first = kinds.index("frontal") if "frontal" in kinds else 0
    others = [i for i in range(len(kinds)) if i != first]
    unlike = [i for i in others if kinds[first] and kinds[i] and kinds[i] != kinds[first]]
    return first, (unlike or others or [first])[0]
