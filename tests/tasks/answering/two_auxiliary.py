"""Run as a script, this starts a second process of itself: a training step with auxiliary losses.

``python -m tests.tasks.answering.two_auxiliary ROOT OUT`` saves what each process kept to OUT.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch

from amif_lightning.tasks import AMiFTask, AMiFVQA
from tests.small import phantom
from tests.two_processes import KEPT, OPTIONS, STAGES, FirstStep, first_step


def _auxiliary(root: Path, processes: int) -> tuple[AMiFTask, L.LightningDataModule]:
    # As many images as it takes for both processes to ask something in the same words.
    data = phantom(root, batch_size=16 // processes, questions_per_image=3, image_size=64)
    L.seed_everything(0, verbose=False)
    return AMiFVQA(**OPTIONS, transport=0.7, image_text=0.3), data


def auxiliary_step(root: Path, processes: int) -> FirstStep:
    """A step of answering on 16 images with both auxiliary losses, spread over the processes."""
    STAGES["auxiliary"] = _auxiliary
    return first_step("auxiliary", root, processes)


if __name__ == "__main__":
    mine = auxiliary_step(Path(sys.argv[1]), 2)
    shares: list[Any] = [None, None]
    torch.distributed.all_gather_object(shares, {name: getattr(mine, name) for name in KEPT})
    if torch.distributed.get_rank() == 0:
        torch.save(shares, sys.argv[2])
