"""Orders that resume exactly, and shards that hold every index once."""

from __future__ import annotations

import pytest

from amif_lightning.data.loading.samplers import EpochIndexSampler, ShardSampler


def order(count: int, epoch: int, *, skip: int = 0, seed: int = 0) -> list[tuple[int, int]]:
    sampler = EpochIndexSampler(range(count), 1, 0, seed=seed)
    sampler.set_epoch(epoch)
    sampler.skip = skip
    return list(sampler)


def test_an_epoch_is_a_permutation_with_its_number() -> None:
    pairs = order(23, 4)
    assert {epoch for epoch, _ in pairs} == {4}
    assert sorted(index for _, index in pairs) == list(range(23))


def test_order_depends_on_epoch_and_seed_only() -> None:
    assert order(23, 1) == order(23, 1)
    indices = [[i for _, i in order(23, e, seed=s)] for e, s in ((1, 0), (2, 0), (1, 1))]
    assert indices[0] != indices[1]
    assert indices[0] != indices[2]


def test_no_seed_repeats_another_seeds_orders() -> None:
    # torch's own sampler orders by seed + epoch, so neighbouring seeds would share their orders.
    orders = {tuple(i for _, i in order(23, e, seed=s)) for s in range(5) for e in range(6)}
    assert len(orders) == 5 * 6


def test_an_order_is_fixed_for_ever() -> None:
    # A run of another machine or version must resume with the same samples.
    assert [i for _, i in order(8, 1, seed=3)] == [7, 4, 0, 1, 6, 3, 2, 5]


@pytest.mark.parametrize("skip", [0, 1, 8, 22, 23])
def test_skip_continues_exactly(skip: int) -> None:
    assert order(23, 2, skip=skip) == order(23, 2)[skip:]


def test_skip_is_used_up_by_the_first_epoch() -> None:
    sampler = EpochIndexSampler(range(10), 1, 0, seed=0)
    sampler.skip = 7
    assert len(list(sampler)) == 3
    sampler.set_epoch(1)
    assert list(sampler) == order(10, 1)


@pytest.mark.parametrize("count", [8, 9])
def test_two_replicas_partition_the_epoch(count: int) -> None:
    shards = []
    for rank in range(2):
        sampler = EpochIndexSampler(range(count), 2, rank, seed=3)
        sampler.set_epoch(5)
        shards.append([index for _, index in sampler])
    both = shards[0] + shards[1]
    assert set(both) == set(range(count))
    # Equally long, so that no process waits; an odd number repeats one sample.
    assert len(shards[0]) == len(shards[1]) == -(-count // 2)
    assert len(both) - len(set(both)) == count % 2


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 4, 7, 9, 12])
def test_shards_hold_every_index_exactly_once(count: int, replicas: int) -> None:
    shards = [ShardSampler(range(count), replicas, rank) for rank in range(replicas)]
    assert sorted(index for shard in shards for index in shard) == list(range(count))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_shards_keep_the_order_in_every_epoch() -> None:
    sampler = ShardSampler(range(7), 2, 1)
    sampler.set_epoch(3)
    assert list(sampler) == list(sampler) == [1, 3, 5]
