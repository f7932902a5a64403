"""Sample orders that resume exactly, and shards without repetition."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from lightning import Trainer
from torch.utils.data import DistributedSampler

from amif_lightning.seeding import stable_seed


class EpochIndexSampler(DistributedSampler[Any]):
    """Shuffled (epoch, index) pairs; the next iteration leaves out the first ``skip`` samples.

    As a ``DistributedSampler`` it is not wrapped again by Lightning. Each index carries the epoch
    because persistent workers hold a copy of the data set and derive the augmentation from it.
    """

    def __init__(self, data: Sized, replicas: int, rank: int, seed: int) -> None:
        # The parent orders by seed + epoch, so plain seeds would share orders: epoch 1 of seed 0
        # would be epoch 0 of seed 1.
        mixed = stable_seed("order", seed)
        super().__init__(data, num_replicas=replicas, rank=rank, shuffle=True, seed=mixed)  # type: ignore[arg-type]  # only its length is used
        self.skip = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(super().__iter__())
        skip, self.skip = self.skip, 0
        return iter([(self.epoch, index) for index in order[skip:]])


class ShardSampler(DistributedSampler[Any]):
    """Every index exactly once over all processes, in order.

    Shards may differ by one; the default sampler repeats samples, which changes scores.
    """

    def __init__(self, data: Sized, replicas: int, rank: int) -> None:
        super().__init__(data, num_replicas=replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]  # only its length is used
        self._indices = range(rank, len(data), replicas)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


def position(trainer: Trainer, steps: int) -> tuple[int, int]:
    """Return the epoch to train on, from 0, and how many of its ``steps`` batches are done."""
    limit = trainer.limit_train_batches
    if isinstance(limit, int):
        steps = min(steps, limit)
    elif limit is not None:
        steps = int(steps * limit)
    loop = trainer.fit_loop
    # `processed`, not `ready`: a batch that was interrupted has not been trained on.
    batches: Any = loop.epoch_loop.batch_progress.current  # typed as a base class without it
    done = batches.processed
    if done < steps:
        return trainer.current_epoch, done
    # The epoch is over. Whether `current_epoch` counts it already depends on the hook that saved
    # the checkpoint; the number of epochs begun does not.
    return loop.epoch_progress.current.ready, 0
