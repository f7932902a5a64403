"""Correct Lightning's loop progress before a resume: ``checkpoint["loops"]``, in place."""

from __future__ import annotations

from typing import Any


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
    _keep_logged_step(loops)
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
    _keep_logged_step(loops)
    for progress in (batch["current"], batch["total"]):
        step = progress["processed"] - extra
        progress.update(dict.fromkeys(("ready", "started", "processed", "completed"), step))


def _keep_logged_step(loops: dict[str, Any]) -> None:
    """Undo that Lightning counts one more logged step at a resume.

    It expects a checkpoint from the end of a batch, where the step is not counted yet.
    """
    loops["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
