"""Load a task from a checkpoint without data set and pretrained weights."""

from __future__ import annotations

from pathlib import Path

import torch

from amif_lightning.errors import UserError
from amif_lightning.tasks.checkpoints import load_checkpoint
from amif_lightning.tasks.vqa import AMiFVQA


def restore(path: Path, device: str = "auto") -> AMiFVQA:
    """Load an answering task in evaluation mode from a checkpoint of the answering stage.

    ``device`` is ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UserError: If the file is damaged or of another stage, the device is missing, or an
            encoder's configuration cannot be downloaded.
    """
    state = load_checkpoint(path)
    if not any(name.startswith("decoder.") for name in state["state_dict"]):
        raise UserError(
            f"{path} is a pre-training checkpoint without an answer decoder: fine-tune it first "
            "(`fit` with --model.init_args.init_from) and give that run's best.ckpt."
        )
    if not state.get("answer_space", {}).get("candidates"):
        raise UserError(
            f"{path} holds no candidate answers: give a checkpoint that `fit` of the answering "
            "stage wrote."
        )
    task = AMiFVQA.load_from_checkpoint(path, map_location="cpu")
    return task.to(_device(device)).eval()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter: a torch built without CUDA
        raise UserError(
            f"The device {name!r} does not exist: give --device cpu, or auto (a GPU if available)."
        ) from error
    return device
