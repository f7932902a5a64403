"""TensorBoard's layout: charts grouped by what they answer, and hyper-parameters with scores."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger


class Dashboard(Callback):
    """Groups the scalars in TensorBoard's *Custom Scalars* tab and fills its *HParams* tab."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the layout once."""
        logger = trainer.logger
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(
                {
                    "answering": {
                        "loss": ["Multiline", ["train/answer_loss", "val/answer_loss"]],
                        "accuracy by stratum": ["Multiline", [r"val/(overall|closed.*|open.*)"]],
                        "accuracy by question type": ["Multiline", [r"val/type/.*"]],
                    },
                    "knowledge": {"gate mean": ["Multiline", [r".*/gate_mean"]]},
                    "optimiser": {"learning rate": ["Multiline", [r"lr.*"]]},
                }
            )

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the hyper-parameters beside the final scores."""
        logger = trainer.logger
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            scores = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith(("test/overall", "control/overall", "test/closed", "test/open"))
            }
            plain: dict[str, Any] = {
                key: value if isinstance(value, int | float | str | bool) else str(value)
                for key, value in pl_module.hparams.items()
                if not key.startswith("_")
            }
            space = getattr(pl_module, "space", None)
            if space is not None:
                plain["protocol"] = space.protocol  # scores of two protocols do not compare
            logger.log_hyperparams(plain, scores)
