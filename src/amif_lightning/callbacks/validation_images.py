"""Base of the TensorBoard images of both stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor

from amif_lightning.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ValidationImages(Callback, ABC):
    """Keeps validation batches of the first process and adds figures of them to TensorBoard.

    ``numbers`` are arguments of the subclass; a UserError is raised for one below 1.
    """

    def __init__(self, **numbers: int) -> None:
        for name, number in numbers.items():
            if number < 1:
                raise UserError(f"{type(self).__name__}: {name} is {number}: give at least 1.")
        self._kept: list[Any] = []

    @abstractmethod
    def keep(self, batch: Any, outputs: Any) -> None:
        """Append the needed parts of a batch to ``_kept``; ignore batches of other tasks."""

    @abstractmethod
    def figures(self, task: Any, kept: list[Any]) -> Mapping[str, Figure]:
        """Draw figures, by tag, from at least one kept batch."""

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the previous batches."""
        self._kept = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Keep the batch."""
        self.keep(batch, outputs)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw on the first process, except in the sanity check."""
        kept, self._kept = self._kept, []
        logger = trainer.logger
        shown = kept and trainer.is_global_zero and not trainer.sanity_checking
        if shown and isinstance(logger, TensorBoardLogger):
            for tag, figure in self.figures(pl_module, kept).items():
                logger.experiment.add_figure(tag, figure, trainer.global_step)


def array(values: Tensor) -> NDArray[np.float64]:
    """Convert a tensor to NumPy."""
    numbers: NDArray[np.float64] = values.detach().double().cpu().numpy()
    return numbers
