"""A callback that sends a signal to its own process at a given moment of training.

The variable ``AMIF_KILL`` holds signal, place and count: ``SIGKILL,validation,3``. Without it the
callback does nothing, so one command trains, is killed and resumes.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from lightning.pytorch import Callback, Trainer

VARIABLE = "AMIF_KILL"
PLACES = ("step", "window", "epoch start", "validation", "saving")


class Killer(Callback):
    """Count the moments of one place, and send the signal at the given one."""

    def __init__(self) -> None:
        name, place, count = os.environ.get(VARIABLE, "SIGKILL,nowhere,0").split(",")
        self._signal = signal.Signals[name]
        self._place, self._left = place, int(count)

    def _meet(self, place: str, delay: float = 0.0) -> None:
        if place != self._place:
            return
        self._left -= 1
        if self._left == 0:
            if delay:
                threading.Timer(delay, os.kill, (os.getpid(), self._signal)).start()
            else:
                os.kill(os.getpid(), self._signal)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._meet("step")
        if trainer.fit_loop.epoch_loop.batch_idx == 0 and trainer.current_epoch:
            self._meet("epoch start")

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            self._meet("window")

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self._meet("validation")

    def on_save_checkpoint(self, *_: Any) -> None:
        # Writing follows, and takes some milliseconds: the first third or the last one.
        self._meet("saving", delay=0.001 if self._left % 2 else 0.008)
