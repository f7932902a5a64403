"""Two gloo processes against one with the whole batch: losses, gradients, labels and draws.

Each of the mistakes that a second process invites is made here on purpose as well, and has to fail
the same check.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.alignment import Labels, Sides, UnifiedAlignment, same_sample
from amif_lightning.losses.gather import gather, gather_padded, longest, world
from amif_lightning.losses.matching import (
    draw_negatives,
    gumbel_noise,
    matching_loss,
    negative_log_weights,
)

PROCESSES, EACH, STEPS = 2, 3, 40
SAMPLES = PROCESSES * EACH
SCALE, SAME_WEIGHT = 1.5, 2.0
Gather = Callable[[Tensor], Tensor]
Kept = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Six samples in float64: 0 and 3 are one study, 1 and 4 have one text."""

    image: Tensor
    text: Tensor
    teacher: tuple[Tensor, Tensor]
    study: Tensor
    text_id: Tensor


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)

    def normal(width: int) -> Tensor:
        return torch.randn(SAMPLES, width, generator=generator, dtype=torch.double)

    return Batch(
        image=normal(5),
        text=normal(5),
        teacher=(F.normalize(normal(4), dim=1), F.normalize(normal(4), dim=1)),
        study=torch.tensor([7, 8, 9, 7, 10, 11]),
        text_id=torch.tensor([1, 2, 3, 4, 2, 5]),
    )


def mine() -> slice:
    """This process's rows of the batch; all of them in a single process."""
    rank, processes = world()
    size = SAMPLES // processes
    return slice(rank * size, (rank + 1) * size)


def sides(encoder: torch.nn.Linear, gathered: Gather) -> Sides:
    """Unit vectors of all samples, of which each process encodes its own."""
    given, rows = batch(), mine()
    image = gathered(F.normalize(encoder(given.image[rows]), dim=1))
    text = gathered(F.normalize(encoder(given.text[rows].roll(1, 1)), dim=1))
    return Sides(image, image.roll(1, 1), text)


def teacher() -> Sides:
    image, text = (gather(features[mine()]) for features in batch().teacher)
    return Sides(image, image.roll(1, 1), text)


def new_encoder() -> torch.nn.Linear:
    torch.manual_seed(1)
    return torch.nn.Linear(5, 4, dtype=torch.double)


def same() -> Tensor:
    rows = mine()
    return same_sample(gather(batch().study[rows]), gather(batch().text_id[rows]))


def averaged(modules: list[torch.nn.Module]) -> dict[str, Tensor]:
    """Gradients of all parameters as DDP leaves them: averaged over processes."""
    found = {}
    for index, module in enumerate(modules):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            if world()[1] > 1:
                dist.all_reduce(parameter.grad)
            found[f"{index}.{name}"] = parameter.grad / world()[1]
    return found


def align(kind: Labels, gathered: Gather = gather) -> Kept:
    """Losses and gradients of all pairs of modalities."""
    encoder, alignment = new_encoder(), UnifiedAlignment(kind, same_weight=SAME_WEIGHT).double()
    losses = alignment(sides(encoder, gathered), same(), teacher(), SCALE).losses
    torch.stack(list(losses.values())).sum().backward()
    values = {pair: float(loss.detach()) for pair, loss in losses.items()}
    return {"losses": values, "gradients": averaged([encoder, alignment])}


def match() -> Kept:
    """The matching loss, whose valid pairs are unequally many in both processes."""
    encoder, rows = new_encoder(), mine()
    logits = encoder(batch().image[rows])[:, :2]
    matched = torch.arange(SAMPLES)[rows] % 2 == 0
    valid = torch.tensor([True, False, False, True, True, True])[rows]
    pairs = valid.sum(dtype=torch.float32)
    processes = world()[1]
    if processes > 1:
        dist.all_reduce(pairs)
    loss = matching_loss(logits, matched, valid, pairs / processes)
    loss.backward()
    total = loss.detach()
    if processes > 1:
        dist.all_reduce(total)
    return {"losses": float(total / processes), "gradients": averaged([encoder])}


@torch.no_grad()
def draw(masked: Callable[[Tensor], Tensor] = lambda weights: weights) -> list[list[int]]:
    """The columns that this process's rows draw in some steps."""
    seen = sides(new_encoder(), gather)
    labels, _ = UnifiedAlignment(same_weight=SAME_WEIGHT).labels(
        "image_text", same(), teacher(), SCALE
    )
    weights = masked(negative_log_weights(seen.first @ seen.text.T / 0.07, labels, same())[mine()])
    return [
        draw_negatives(weights, gumbel_noise(SAMPLES, 0, step)[mine()])[0].tolist()
        for step in range(STEPS)
    ]


def label_rows() -> Tensor:
    """This process's rows of the soft labels."""
    labels, _ = UnifiedAlignment(same_weight=SAME_WEIGHT).labels(
        "image_text", same(), teacher(), SCALE
    )
    return labels[mine()]


# ---- the mistakes --------------------------------------------------------------------------------


def without_gradient(local: Tensor) -> Tensor:
    """What `torch.distributed.all_gather` gives, with the process's own rows put back."""
    if world()[1] == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(PROCESSES)]
    dist.all_gather(parts, local.detach().contiguous())
    parts[world()[0]] = local
    return torch.cat(parts)


def identity_in_the_first_columns() -> Tensor:
    """Labels of local rows against all, with lambda added at column i for local row i."""
    given = teacher()
    rows = given.first[mine()]
    positive = torch.eye(len(rows), SAMPLES, dtype=torch.double)
    return (math.exp(SCALE) * rows @ given.text.T + SAME_WEIGHT * positive).softmax(1)


def first_columns_masked(weights: Tensor) -> Tensor:
    """Column i left out for local row i, whichever the process."""
    open_rows = weights.masked_fill(weights == -torch.inf, 0.0)
    return open_rows.masked_fill(torch.eye(*weights.shape, dtype=torch.bool), -torch.inf)


def keep(rank: int, folder: str) -> None:
    """Run in each process: everything that the tests compare, written to ``folder``."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )
    shared = torch.ones(EACH, 2, requires_grad=True)
    beside = torch.ones(SAMPLES, 2, requires_grad=True)
    # Addition hands one and the same tensor to both of its terms as their gradient.
    ((gather(shared) + beside) * torch.arange(1.0, 1 + SAMPLES)[:, None]).sum().backward()
    tokens = torch.full((1, 2 + rank), 1 + rank)
    length = longest(tokens.shape[1], tokens.device)
    kept: Kept = {
        "world": world(),
        "soft": align("soft"),
        "hard": align("hard"),
        "no gradient": align("soft", without_gradient),
        "match": match(),
        "drawn": draw(),
        "drawn with the wrong mask": draw(first_columns_masked),
        "labels": label_rows(),
        "wrong labels": identity_in_the_first_columns(),
        "beside": beside.grad,
        "through": shared.grad,
        "tokens": gather_padded(tokens, length),
    }
    torch.save(kept, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


pytestmark = pytest.mark.ddp


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    """What either of two processes kept."""
    folder = tmp_path_factory.mktemp("gather")
    # A process that fails ends the other one; one that waits for it gives up after a minute.
    mp.spawn(keep, args=(str(folder),), nprocs=PROCESSES)
    return [_read(folder / f"{rank}.pt") for rank in range(PROCESSES)]


def _read(file: Path) -> Kept:
    kept: Kept = torch.load(file, weights_only=True)
    return kept


def check_equal(found: Kept, expected: Kept) -> None:
    """Losses and all gradients."""
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-9)
    assert found["gradients"].keys() == expected["gradients"].keys()
    for name, gradient in expected["gradients"].items():
        torch.testing.assert_close(
            found["gradients"][name], gradient, rtol=1e-5, atol=1e-9, msg=name
        )


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_alignment_of_two_processes_is_that_of_one(two: list[Kept], kind: Labels) -> None:
    expected = align(kind)
    assert sum(float(g.abs().sum()) for g in expected["gradients"].values()) > 0.1
    for kept in two:
        check_equal(kept[kind], expected)


def test_features_gathered_without_a_gradient_would_be_noticed(two: list[Kept]) -> None:
    expected = align("soft")
    for kept in two:
        assert kept["no gradient"]["losses"] == pytest.approx(expected["losses"])
        with pytest.raises(AssertionError, match="weight"):
            check_equal(kept["no gradient"], expected)


def test_matching_of_two_processes_is_that_of_one(two: list[Kept]) -> None:
    expected = match()
    for kept in two:
        check_equal(kept["match"], expected)


def test_both_processes_label_as_one(two: list[Kept]) -> None:
    expected = label_rows().chunk(PROCESSES)
    for kept, rows in zip(two, expected, strict=True):
        torch.testing.assert_close(kept["labels"], rows)
    # Lambda in the columns of the first process is wrong in the second one only by its rank; the
    # first one lacks the duplicates.
    with pytest.raises(AssertionError):
        torch.testing.assert_close(two[1]["wrong labels"], expected[1])


def check_no_positive(drawn: list[list[int]], rank: int) -> None:
    """No row of a process draws an equal sample."""
    admissible = ~same()[rank * EACH : (rank + 1) * EACH]
    for columns in drawn:
        assert bool(admissible[torch.arange(EACH), torch.tensor(columns)].all())


def test_both_processes_draw_as_one(two: list[Kept]) -> None:
    alone = draw()
    joined = [a + b for a, b in zip(two[0]["drawn"], two[1]["drawn"], strict=True)]
    assert joined == alone
    assert len({tuple(columns) for columns in alone}) > STEPS // 4
    for rank, kept in enumerate(two):
        check_no_positive(kept["drawn"], rank)
    with pytest.raises(AssertionError):
        check_no_positive(two[1]["drawn with the wrong mask"], 1)


def test_a_gradient_that_others_share_is_not_written_to(two: list[Kept]) -> None:
    weights = torch.arange(1.0, 1 + SAMPLES)[:, None].expand(SAMPLES, 2)
    for rank, kept in enumerate(two):
        torch.testing.assert_close(kept["beside"], weights.contiguous())
        torch.testing.assert_close(kept["through"], PROCESSES * weights.chunk(PROCESSES)[rank])


def test_sequences_are_padded_to_the_longest_of_all(two: list[Kept]) -> None:
    for rank, kept in enumerate(two):
        assert kept["world"] == (rank, PROCESSES)
        assert kept["tokens"].tolist() == [[1, 1, 0], [2, 2, 2]]


def test_one_process_gathers_nothing() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert world() == (0, 1)
    assert gather(rows) is rows
    assert longest(5, rows.device) == 5
    assert gather_padded(rows, 4)[:, 2:].tolist() == [[0.0, 0.0]] * 3
