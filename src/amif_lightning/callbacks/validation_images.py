"""What the TensorBoard images of both stages share: when they are drawn, and where they go."""

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

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ValidationImages(Callback, ABC):
    """Keeps batches of a validation and shows figures of them after it.

    A subclass says what it keeps and what it draws. Under several processes the batches are those
    of the first one.
    """

    def __init__(self) -> None:
        self._kept: list[Any] = []

    @abstractmethod
    def keep(self, batch: Any, outputs: Any) -> None:
        """Add what is needed of a batch to ``_kept``; batches of other tasks hold nothing."""

    @abstractmethod
    def figures(self, task: Any, kept: list[Any]) -> Mapping[str, Figure]:
        """Figures by their tags, made of at least one kept batch."""

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start anew."""
        self._kept = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what is needed of the batch."""
        self.keep(batch, outputs)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, on the first process and outside the sanity check."""
        kept, self._kept = self._kept, []
        logger = trainer.logger
        if (
            kept
            and not trainer.sanity_checking
            and trainer.is_global_zero
            and isinstance(logger, TensorBoardLogger)
        ):
            for tag, figure in self.figures(pl_module, kept).items():
                logger.experiment.add_figure(tag, figure, trainer.global_step)


def array(values: Tensor) -> NDArray[np.float64]:
    """A tensor as NumPy's numbers."""
    numbers: NDArray[np.float64] = values.detach().double().cpu().numpy()
    return numbers
