"""Questions on two processes are aligned as on one (see tests/test_ddp.py for the whole task)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from amif_lightning.losses.alignment import UnifiedAlignment
from amif_lightning.tasks.answering.auxiliary_alignment import question_alignment
from tests.tasks.answering.questions_on_images import IMAGE_OF, questions, vectors

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
