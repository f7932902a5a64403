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
