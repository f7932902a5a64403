"""One epoch of several data sets: how often each part's samples are shown, and in which order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from amif_lightning.errors import UserError
from amif_lightning.seeding import stable_seed

Sample_co = TypeVar("Sample_co", covariant=True)


class Mixed(Dataset[Sample_co]):
    """Samples of several parts that lie one behind the other in one data set, with weights.

    An epoch shows ``round(weight * n)`` samples of a part of n: with weight 1 each once, with 0.5
    half of them and the others in the next epoch, with 2 each twice. A sample of a part is shown
    again only when all others of that part have been (but for what a loader leaves out of an epoch
    that its batches do not fill), whatever the weight: the epochs of a part
    are consecutive pieces of an endless row of passes, each a permutation drawn from
    (seed, part, pass). A pass stands where a single data set has its epoch, so that augmentation
    and drawn views change with it.

    Args:
        data: The samples of the first part, then of the second ...; asked for ``(pass, index)``.
        sizes: Number of samples of each part.
        weights: How often an epoch shows each part, above 0; None: once.
        seed: Decides the permutations.

    Raises:
        UserError: If the numbers of parts and weights differ, or a part would not be shown at all.
    """

    def __init__(
        self,
        data: Dataset[Sample_co],
        sizes: Sequence[int],
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.data, self.sizes, self.seed = data, tuple(sizes), seed
        self.shown = epoch_sizes(sizes, weights)
        self._starts = [0, *accumulate(self.sizes)]
        self._ends = list(accumulate(self.shown))
        self._orders: list[dict[int, Tensor]] = [{} for _ in self.sizes]  # by part and pass

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: tuple[int, int]) -> Sample_co:
        """The sample at ``(epoch, place)``."""
        turn, index = self.locate(*key)
        return self.data[turn, index]

    def locate(self, epoch: int, place: int) -> tuple[int, int]:
        """Which sample stands at a place of an epoch.

        Args:
            epoch: From 0.
            place: From 0 and below the length.

        Returns:
            The pass through its part, from 0, and its place in the data set.
        """
        part = bisect_right(self._ends, place)
        within = place - (self._ends[part] - self.shown[part])
        turn, position = divmod(epoch * self.shown[part] + within, self.sizes[part])
        return turn, self._starts[part] + int(self._order(part, turn)[position])

    def _order(self, part: int, turn: int) -> Tensor:
        orders = self._orders[part]
        if turn not in orders:
            generator = torch.Generator().manual_seed(stable_seed("mix", self.seed, part, turn))
            orders[turn] = torch.randperm(self.sizes[part], generator=generator)
            # An epoch asks for its passes in any order, so as many are kept as it can meet.
            while len(orders) > self.shown[part] // self.sizes[part] + 2:
                del orders[min(orders)]
        return orders[turn]


def epoch_sizes(sizes: Sequence[int], weights: Sequence[float] | None) -> tuple[int, ...]:
    """How many samples of each part an epoch shows.

    Args:
        sizes: Number of samples of each part.
        weights: How often an epoch shows each part; None: once.

    Raises:
        UserError: If the numbers of parts and weights differ, or a part would not be shown at all.
    """
    weights = [1.0] * len(sizes) if weights is None else list(weights)
    check_weights(len(sizes), weights)
    shown = tuple(round(weight * size) for weight, size in zip(weights, sizes, strict=True))
    for place, number in enumerate(shown):
        if number < 1:
            raise UserError(
                f"Part {place} of the mixture has {sizes[place]} samples to train on, and with "
                f"weight {weights[place]} an epoch would show none of them: look at what is "
                "dropped and why, give a greater weight, or leave the part out."
            )
    return shown


def check_weights(parts: int, weights: Sequence[float] | None) -> None:
    """Refuse weights that do not fit the parts.

    Args:
        parts: Number of parts.
        weights: How often an epoch shows each; None: once.

    Raises:
        UserError: If there are no parts, their number is another, or a weight is not above 0.
    """
    if parts < 1:
        raise UserError("data.init_args.parts is empty: name at least one data module.")
    if weights is None:
        return
    if len(weights) != parts:
        raise UserError(
            f"data.init_args.weights has {len(weights)} numbers for {parts} parts: give one for "
            "each, in their order."
        )
    for weight in weights:
        if not 0 < weight < float("inf"):
            raise UserError(f"data.init_args.weights holds {weight}: give numbers above 0.")
