"""A trainer that logs to TensorBoard, its validations, and what they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def trainer_of(folder: Path, **more: Any) -> Any:
    """What the callbacks read of a trainer."""
    logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    state = {"sanity_checking": False, "is_global_zero": True, "logger": logger, "global_step": 7}
    return SimpleNamespace(**(state | more))


def validate(
    callback: Any,
    trainer: Any,
    batches: Sequence[Any],
    task: Any = None,
    outputs: Callable[[Any], Any] = lambda batch: None,
) -> None:
    """A validation of some batches."""
    callback.on_validation_start(trainer, task)
    for number, batch in enumerate(batches):
        callback.on_validation_batch_end(trainer, task, outputs(batch), batch, number)
    callback.on_validation_end(trainer, task)


def events(trainer: Any) -> EventAccumulator:
    """The events that were written so far."""
    trainer.logger.experiment.flush()
    loaded: EventAccumulator = EventAccumulator(trainer.logger.log_dir).Reload()
    return loaded
