"""Accuracy by stratum: equal to counting by hand, on one process and on two."""

from __future__ import annotations

import doctest
import random
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from amif_lightning.metrics import vqa_accuracy
from amif_lightning.metrics.vqa_accuracy import VQAAccuracy

STRATA = ("overall", "closed/answer", "open/answer", "never")


def questions(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = random.Random(seed)
    correct = [draw.random() < 0.4 for _ in range(count)]
    closed = [draw.random() < 0.5 for _ in range(count)]
    membership = [[True, c, not c, False] for c in closed]
    return torch.tensor(correct), torch.tensor(membership)


def slow_tally(correct: Tensor, membership: Tensor) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for right, row in zip(correct.tolist(), membership.tolist(), strict=True):
        for name, member in zip(STRATA, row, strict=True):
            if member:
                hits, seen = found.get(name, (0, 0))
                found[name] = (hits + right, seen + 1)
    return found


def shares(tally: dict[str, tuple[int, int]]) -> dict[str, float]:
    return {name: hits / seen for name, (hits, seen) in tally.items()}


def counts(metric: VQAAccuracy) -> dict[str, tuple[int, int]]:
    """(correct, count) of each stratum that holds a question, on this process."""
    pairs = zip(metric.correct.tolist(), metric.count.tolist(), strict=True)
    return {name: pair for name, pair in zip(metric.strata, pairs, strict=True) if pair[1]}


def values(metric: VQAAccuracy) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("sizes", [[37], [5, 0, 30, 2], [1] * 9])
def test_equals_a_slow_count_however_the_questions_come(sizes: list[int]) -> None:
    correct, membership = questions(sum(sizes))
    metric = VQAAccuracy(STRATA)
    for c, m in zip(correct.split(sizes), membership.split(sizes), strict=True):
        metric.update(c, m)
    expected = slow_tally(correct, membership)
    assert counts(metric) == {name: expected[name] for name in STRATA[:3]}
    assert values(metric) == shares(expected)  # to the last digit
    assert "never" not in metric.compute()


def test_sums_and_not_means_of_shards() -> None:
    # 1 of 1 and 0 of 3: a mean over shards would be 0.5.
    first, second = VQAAccuracy(["overall"]), VQAAccuracy(["overall"])
    first.update(torch.tensor([True]), torch.ones(1, 1, dtype=torch.bool))
    second.update(torch.tensor([False] * 3), torch.ones(3, 1, dtype=torch.bool))
    first.merge_state(second)
    assert counts(first) == {"overall": (1, 4)}
    assert float(first.compute()["overall"]) == 0.25


def test_large_counts_stay_exact() -> None:
    # Past 2**24 a float32 sum would no longer count.
    metric = VQAAccuracy(["overall"])
    metric.correct += 2**24
    metric.count += 2**24
    metric.update(torch.tensor([True, False, True]), torch.ones(3, 1, dtype=torch.bool))
    assert counts(metric) == {"overall": (2**24 + 2, 2**24 + 3)}
    assert float(metric.compute()["overall"]) == (2**24 + 2) / (2**24 + 3)


def test_the_example_in_the_docstring() -> None:
    result = doctest.testmod(vqa_accuracy)
    assert result.attempted >= 3
    assert result.failed == 0


def _shard(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    correct, membership = questions(7)
    metric = VQAAccuracy(STRATA)
    shard = slice(0, 4) if rank == 0 else slice(4, 7)
    metric.update(correct[shard], membership[shard])
    torch.save((values(metric), counts(metric)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_processes_with_uneven_shards_give_the_value_of_one(tmp_path: Path) -> None:
    # Forked and not spawned: importing torch twice takes longer than everything else here.
    context = mp.get_context("fork")
    processes = [context.Process(target=_shard, args=(r, 2, str(tmp_path))) for r in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    correct, membership = questions(7)
    expected = slow_tally(correct, membership)
    for rank in range(2):
        shared, own = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert shared == shares(expected)
        part = slice(0, 4) if rank == 0 else slice(4, 7)
        assert own == slow_tally(correct[part], membership[part])  # and the sync is undone
