"""Sample orders that survive an interruption: the same epoch continues where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import DistributedSampler


class EpochIndexSampler(DistributedSampler[Any]):
    """Shuffled indices as (epoch, index) pairs, with a number of first samples left out.

    It is a ``DistributedSampler`` so that Lightning does not wrap it again, and yields the epoch
    with each index so that persistent workers, which hold a copy of the data set, can derive the
    augmentation from it.

    Args:
        data: The data set.
        replicas: Number of processes.
        rank: This process.
        seed: Decides the order, together with the epoch.
    """

    def __init__(self, data: Sized, replicas: int, rank: int, seed: int) -> None:
        # torch asks for a Dataset but uses its length only.
        super().__init__(data, num_replicas=replicas, rank=rank, shuffle=True, seed=seed)  # type: ignore[arg-type]
        self.skip = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """One epoch's pairs; ``skip`` is used up by the first call."""
        order = list(super().__iter__())
        skip, self.skip = self.skip, 0
        return iter([(self.epoch, index) for index in order[skip:]])


class ShardSampler(DistributedSampler[Any]):
    """Every index exactly once over all processes, in order, without padding.

    The default distributed sampler repeats samples until all shards are equally long, which changes
    scores; here the shards may differ by one.
    """

    def __init__(self, data: Sized, replicas: int, rank: int) -> None:
        # torch asks for a Dataset but uses its length only.
        super().__init__(data, num_replicas=replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self._indices = range(rank, len(data), replicas)

    def __iter__(self) -> Iterator[int]:
        """This process's indices."""
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)
