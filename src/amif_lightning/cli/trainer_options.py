"""Options of the Trainer: checks of those that train or select nothing, and loggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from amif_lightning.cli.config_files import suggestion
from amif_lightning.errors import UserError

_OF_TEST = {"test", "control", "blank"}  # first parts of the names of test scores
_MINIMA = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "num_nodes": 1,
    "num_sanity_val_steps": -1,
}
# With 0 of these, a command trains or scores nothing.
_NOT_ZERO = {
    "fit": ("limit_train_batches", "max_epochs", "max_steps", "val_check_interval"),
    "validate": ("limit_val_batches",),
    "test": ("limit_test_batches",),
    "predict": ("limit_predict_batches",),
}


def check_trainer(options: Any, command: str) -> None:
    """Raise a UserError for the first wrong value among the options ``trainer.X`` of a command."""
    for name, minimum in _MINIMA.items():
        value = options[name]
        if value is not None and not value >= minimum:
            raise UserError(f"--trainer.{name} is {value}: give at least {minimum}.")
    for name in _NOT_ZERO[command]:
        if options[name] == 0:
            raise UserError(f"--trainer.{name} is 0: give more than 0.")
    for name, known in (
        ("accelerator", ["auto", "gpu", *AcceleratorRegistry.available_accelerators()]),
        ("strategy", ["auto", *StrategyRegistry.available_strategies()]),
    ):
        value = options[name]
        if isinstance(value, str) and value not in known:
            close = suggestion(value, known, show=40)
            raise UserError(f"--trainer.{name} {value}: there is none of this name{close}")


class LearningRate(LearningRateMonitor):
    """Lightning's monitor, which does nothing without a logger instead of raising."""

    def on_train_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Start if there is a logger."""
        if trainer.loggers:
            super().on_train_start(trainer, *args, **kwargs)


class MonitorCheck(Callback):
    """Stop training if the first validation does not log a score that another callback monitors.

    The sanity check only warns: its few batches may lack a subset of the questions.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the names; a UserError gives the nearest one."""
        if trainer.state.fn is not TrainerFn.FITTING:
            return
        scores = [name for name in trainer.callback_metrics if not name.startswith("train")]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by the Trainer
            monitor = getattr(callback, "monitor", None)
            if monitor is None or monitor in scores or monitor.startswith("train"):
                continue
            sentence = (
                f"{type(callback).__name__} monitors `{monitor}`, which this validation did not "
                f"log{suggestion(monitor, scores, show=40)}"
            )
            if not trainer.sanity_checking:
                raise UserError(sentence)
            rank_zero_warn(sentence)


class Curves(TensorBoardLogger):
    """TensorBoard's curves in the run folder, without the single points of a test.

    ``Dashboard`` writes the test scores to the folder ``scores``.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the values of training and validation."""
        kept = {k: v for k, v in metrics.items() if k.partition("/")[0] not in _OF_TEST}
        super().log_metrics(kept, step)


def loggers(given: Logger | Iterable[Logger] | bool | None, folder: str) -> list[Logger] | bool:
    """Return TensorBoard's logger and those of ``--trainer.logger``; False for none."""
    if given is False:
        return False
    if given is None or given is True:
        given = []
    others = [given] if isinstance(given, Logger) else list(given)
    if any(isinstance(logger, TensorBoardLogger) for logger in others):
        return others
    # Empty name and version: every call uses the same folder instead of version_N.
    return [Curves(folder, name="", version="", default_hp_metric=False), *others]


def replace_folder(given: Any, old: str, new: str) -> None:
    """Replace the ``save_dir`` of the loggers in a configuration: empty means the run folder."""
    for logger in given if isinstance(given, list) else [given]:
        options = logger.get("init_args") if isinstance(logger, Namespace) else None
        if options and options.get("save_dir") == old:
            options["save_dir"] = new
