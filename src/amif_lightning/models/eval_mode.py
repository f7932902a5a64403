"""Run a network in evaluation mode and restore its mode afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation_mode(task: nn.Module) -> Iterator[None]:
    """Use evaluation mode without gradients, then restore the mode of every module.

    ``train(True)`` is not enough: frozen parts are in evaluation mode during training too.
    """
    modes = {module: module.training for module in task.modules()}
    task.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
