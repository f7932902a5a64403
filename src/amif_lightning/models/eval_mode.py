"""Running a network in evaluation mode and putting its mode back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn


class Switchable(Protocol):
    """A module, or anything else whose parts are trained or evaluated."""

    def modules(self) -> Iterator[nn.Module]:
        """All parts."""

    def eval(self) -> object:
        """Put all parts in evaluation mode."""


@contextmanager
def at_rest(task: Switchable) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode that it was in.

    ``train(True)`` would not do: parts that a stage freezes are in evaluation mode in training too.
    """
    modes = {module: module.training for module in task.modules()}
    task.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
