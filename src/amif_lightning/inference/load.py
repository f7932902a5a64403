"""Load a task from a checkpoint without data set and pretrained weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.errors import UserError, first_line
from amif_lightning.inference.model_card import doubts_of
from amif_lightning.tasks.answering.doubts import DOUBTS
from amif_lightning.tasks.answering.shared_folder import CONFIG, read_shared
from amif_lightning.tasks.checkpoints import check_stage, readable_by_lightning
from amif_lightning.tasks.vqa import AMiFVQA


def restore(source: str | Path, device: str = "auto") -> AMiFVQA:
    """Load an answering task in evaluation mode from a checkpoint of the answering stage.

    ``source`` is the path or address of a checkpoint, or a folder that ``share`` wrote; ``device``
    is ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UserError: If the file is damaged or of another stage, the device is missing, or an
            encoder's configuration cannot be downloaded.
    """
    shared = os.path.isfile(Path(source) / CONFIG)
    state = dict(read_shared(Path(source)) if shared else read_checkpoint(source))
    if not shared:
        state[DOUBTS] = doubts_of(Path(source))
    return task_of(state, source).to(_device(device)).eval()


def task_of(state: Mapping[str, Any], source: str | Path) -> AMiFVQA:
    """Build the task of a checkpoint that was read from ``source``, on the CPU.

    Raises:
        UserError: See :func:`restore`.
    """
    check_stage(state, AMiFVQA.kind, source)
    parts = {
        "hyper-parameters": state.get("hyper_parameters"),
        "candidate answers": state.get("answer_space", {}).get("candidates"),
    }
    for name, found in parts.items():
        if not found:
            raise UserError(
                f"{source} holds no {name}: give a checkpoint that `fit` of the answering stage "
                "wrote."
            )
    try:
        return AMiFVQA.load_from_checkpoint(readable_by_lightning(state), map_location="cpu")
    except RuntimeError as error:  # raised by torch for tensors of other names or shapes
        raise UserError(
            f"The weights of {source} do not fit its own hyper-parameters ({first_line(error)}): "
            "give a checkpoint that `fit` wrote with this version."
        ) from error


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
