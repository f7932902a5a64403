"""Auxiliary losses on two processes with different numbers of questions are those of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from amif_lightning.losses.alignment import UnifiedAlignment
from amif_lightning.tasks.answering.auxiliary_alignment import question_alignment
from tests.processes import python
from tests.small import phantom
from tests.tasks.answering.questions_on_images import IMAGE_OF, questions, vectors
from tests.tasks.answering.two_auxiliary import auxiliary_step
from tests.two_processes import FirstStep

# Slow: the default suite proves the same of pre-training's losses, which share the code.
pytestmark = [pytest.mark.ddp, pytest.mark.slow]

#: The second process holds the question that the first asks too, and another group of its image.
SHARES = ((0, 2), (2, 5))


def aligned(first: int, last: int) -> dict[str, torch.Tensor]:
    """Loss and gradients of one process with questions ``first`` to ``last``."""
    module = UnifiedAlignment("hard", 1.0, 0.0, 0.0, temperature=0.2).double()
    image, question = vectors()
    image = image[IMAGE_OF[first] : IMAGE_OF[last - 1] + 1].clone().requires_grad_()
    question = question[first:last].clone().requires_grad_()
    loss = question_alignment(module, image, question, questions(first, last))
    temperature = next(module.parameters())
    slopes = torch.autograd.grad(loss, (image, question, temperature))
    names = ("image", "question", "temperature")
    return {"loss": loss.detach(), **dict(zip(names, slopes, strict=True))}


def _share(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(aligned(*SHARES[rank]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_questions_are_aligned_over_both_processes(tmp_path: Path) -> None:
    # Forked and not spawned: importing torch twice takes longer than everything else here.
    context = mp.get_context("fork")
    processes = [context.Process(target=_share, args=(r, str(tmp_path))) for r in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    one = aligned(0, 5)
    for share in (first, second):
        torch.testing.assert_close(share["loss"], one["loss"])
        torch.testing.assert_close(share["temperature"], one["temperature"])
    # DDP averages over processes what each has found.
    for name in ("image", "question"):
        both = torch.cat([first[name], second[name]]) / 2
        torch.testing.assert_close(both, one[name])
    # The two halves by themselves are another loss: each sees fewer negatives.
    halves = sum(float(aligned(*share)["loss"]) for share in SHARES) / 2
    assert halves != pytest.approx(float(one["loss"]), rel=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("two_auxiliary")
    phantom(base / "phantom").prepare_data()
    return base


@pytest.fixture(scope="module")
def two(folder: Path) -> list[dict[str, Any]]:
    """What each of two processes kept of the first step."""
    paths = (str(folder / "phantom"), str(folder / "step.pt"))
    python("-m", "tests.tasks.answering.two_auxiliary", *paths)
    kept: list[dict[str, Any]] = torch.load(folder / "step.pt", weights_only=True)
    return kept


@pytest.fixture(scope="module")
def one(folder: Path, two: list[dict[str, Any]]) -> FirstStep:
    return auxiliary_step(folder / "phantom", 1)


def test_the_gradient_is_that_of_one_process_with_the_whole_batch(
    folder: Path, two: list[dict[str, Any]], one: FirstStep
) -> None:
    first, second = (share["samples"] for share in two)
    assert len(first) != len(second)
    assert sorted(first + second) == sorted(one.samples)
    # The processes ask the same: positives that only gathered words can show.
    asked = {row.question_id: row.question for row in phantom(folder / "phantom").splits.train}
    assert {asked[name] for name in first} & {asked[name] for name in second}
    for share in two:
        assert share["gradient"].keys() == one.gradient.keys()
        for name, gradient in one.gradient.items():
            given = share["gradient"][name]
            torch.testing.assert_close(given, gradient, rtol=1e-4, atol=1e-5, msg=name)
    assert float(one.gradient["alignment.pairs.image_text.log_temperature"].abs()) > 1e-3


def test_both_processes_log_what_one_does(two: list[dict[str, Any]], one: FirstStep) -> None:
    names = ("transport_loss", "image_text_loss", "image_text_temperature", "answer_loss")
    for name in (f"train/{name}" for name in names):
        logged = [share["logged"][name] for share in two]
        assert logged == pytest.approx([one.logged[name]] * 2, rel=1e-5)
