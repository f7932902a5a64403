"""Make Lightning's loop progress exact for a resume."""

from __future__ import annotations

from typing import Any


def complete_finished_epoch(loops: dict[str, Any]) -> None:
    """Mark the epoch as completed in a checkpoint that was written at the end of an epoch.

    Lightning saves before it counts the epoch as completed. A run with ``max_steps`` then ends this
    epoch again after a resume: it counts the epoch twice, so all later epochs take the sample order
    of the next one, and it may train one batch too many. Runs without ``max_steps`` do not need it.

    Args:
        loops: ``checkpoint["loops"]`` of the loaded file; changed in place.
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

    A validation amid an accumulation window may save a checkpoint. It lacks the gradients of the
    window, so the resumed run takes the window's batches again.

    Args:
        loops: ``checkpoint["loops"]`` of the loaded file; changed in place.
        accumulated: ``accumulate_grad_batches`` of the run, 1 or more.
    """
    batch = loops["fit_loop"]["epoch_loop.batch_progress"]
    extra = batch["current"]["processed"] % accumulated
    if not extra or batch["is_last_batch"]:
        return
    for progress in (batch["current"], batch["total"]):
        step = progress["processed"] - extra
        progress.update(dict.fromkeys(("ready", "started", "processed", "completed"), step))
