"""Correct Lightning's loop progress before a resume: ``checkpoint["loops"]``, in place."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer


def complete_finished_epoch(loops: dict[str, Any]) -> None:
    """Mark the epoch as completed in a checkpoint that was written at the end of an epoch.

    Lightning saves before it counts the epoch as completed. With ``max_steps``, a resumed run ends
    this epoch again and counts it twice. All later epochs then use the sample order of the next
    one, and the run may train one batch too many. Runs without ``max_steps`` do not need this
    correction.
    """
    epoch = loops["fit_loop"]["epoch_progress"]
    batch = loops["fit_loop"]["epoch_loop.batch_progress"]
    now = epoch["current"]
    ended = now["ready"] == now["started"] == now["processed"] == now["completed"] + 1
    if not (ended and batch["is_last_batch"]):
        return
    for progress in (epoch["current"], epoch["total"]):
        progress["completed"] += 1
    batch["current"] = dict.fromkeys(batch["current"], 0)
    batch["is_last_batch"] = False


def rewind_to_step(loops: dict[str, Any], accumulated: int) -> None:
    """Move a checkpoint that was written between two optimizer steps back to the last step.

    A validation within an accumulation window of ``accumulated`` batches may save a checkpoint. It
    lacks the gradients of the window, so the resumed run repeats the window's batches.
    """
    batch = loops["fit_loop"]["epoch_loop.batch_progress"]
    extra = batch["current"]["processed"] % accumulated
    if not extra or batch["is_last_batch"]:
        return
    for progress in (batch["current"], batch["total"]):
        step = progress["processed"] - extra
        progress.update(dict.fromkeys(("ready", "started", "processed", "completed"), step))


def continue_logged_steps(trainer: Trainer) -> None:
    """Set the x-axis of loggers to the number of optimizer steps, as in an uninterrupted run.

    Lightning counts it apart and may count one step twice after a resume, without a public way to
    set it. Call this at the start of the first resumed batch.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
