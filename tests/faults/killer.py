"""A callback that sends a signal to its own process at a given moment of training.

The variable ``AMIF_KILL`` holds signal, place and count: ``SIGKILL,validation,3``. Without it the
callback does nothing, so one command trains, is killed and resumes.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

VARIABLE = "AMIF_KILL"
#: Names a file that receives the number of moments of each place.
COUNTS = "AMIF_COUNT_MOMENTS"


class Killer(Callback):
    """Count the moments of one place, and send the signal at the given one."""

    def __init__(self) -> None:
        name, place, count = os.environ.get(VARIABLE, "SIGKILL,nowhere,0").split(",")
        self._signal = signal.Signals[name]
        self._place, self._left = place, int(count)
        self._counts: Counter[str] = Counter()

    def _meet(self, place: str, delay: float = 0.0) -> None:
        self._counts[place] += 1
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

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        if (file := os.environ.get(COUNTS)) and trainer.is_global_zero:
            Path(file).write_text(json.dumps(self._counts))
