"""One epoch of several data sets, each repeated by its weight."""

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
    """Weighted samples of several parts that are concatenated in ``data``.

    An epoch shows ``round(weight * n)`` samples of a part of n: weight 1 (the default) each once,
    0.5 a half and the other half in the next epoch, 2 each twice. A part repeats a sample only
    after showing all others, except samples that a loader drops with an incomplete batch. A part's
    epochs are consecutive slices of an endless sequence of permutations ("passes"), drawn from
    (seed, part, pass). Augmentation and drawn views change with the pass; ``data`` is indexed by
    ``(pass, index)``.

    Raises:
        UserError: If an epoch would show no sample of a part.
    """

    def __init__(
        self,
        data: Dataset[Sample_co],
        sizes: Sequence[int],
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.data, self.sizes, self.seed = data, tuple(sizes), seed
        weights = weights or [1.0] * len(sizes)
        self.shown = [round(w * size) for w, size in zip(weights, sizes, strict=True)]
        for part, number in enumerate(self.shown):
            if number < 1:
                raise UserError(
                    f"Part {part} of the mixture has {sizes[part]} samples to train on, and with "
                    f"weight {weights[part]} an epoch would show none of them: check which rows "
                    "are dropped and why, give a greater weight, or leave the part out."
                )
        self._starts = [0, *accumulate(self.sizes)]
        self._ends = list(accumulate(self.shown))
        self._orders: list[dict[int, Tensor]] = [{} for _ in self.sizes]  # by part and pass

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: tuple[int, int]) -> Sample_co:
        epoch, place = key
        part = bisect_right(self._ends, place)
        within = place - (self._ends[part] - self.shown[part])
        turn, position = divmod(epoch * self.shown[part] + within, self.sizes[part])
        return self.data[turn, self._starts[part] + int(self._order(part, turn)[position])]

    def _order(self, part: int, turn: int) -> Tensor:
        orders = self._orders[part]
        if turn not in orders:
            generator = torch.Generator().manual_seed(stable_seed("mix", self.seed, part, turn))
            orders[turn] = torch.randperm(self.sizes[part], generator=generator)
            # Shuffled samples need an epoch's passes in any order, so all of them are kept.
            while len(orders) > self.shown[part] // self.sizes[part] + 2:
                del orders[min(orders)]
        return orders[turn]


def check_weights(parts: int, weights: Sequence[float] | None) -> None:
    """Check that there are parts and, if given, one positive finite weight for each."""
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
