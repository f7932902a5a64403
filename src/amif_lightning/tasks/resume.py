"""Correct Lightning's loop progress before a resume: ``checkpoint["loops"]``, in place."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

from amif_lightning.errors import UserError


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


def check_validation_interval(trainer: Trainer) -> None:
    """Check that validations, which save checkpoints, follow complete optimizer steps.

    A checkpoint from inside an accumulation window lacks the window's gradients, and a resumed run
    would update batch-norm statistics twice.

    Raises:
        UserError: If a validation may fall inside an accumulation window.
    """
    accumulated, interval = trainer.accumulate_grad_batches, trainer.val_check_batch
    batches, across_epochs = trainer.num_training_batches, trainer.check_val_every_n_epoch is None
    if accumulated == 1 or (interval == batches and not across_epochs):
        return
    if interval is None or interval % accumulated or (across_epochs and batches % accumulated):
        raise UserError(
            f"Validations would interrupt gradient accumulation over {accumulated} batches: give a "
            f"multiple of {accumulated} as --trainer.val_check_interval, with "
            "--trainer.check_val_every_n_epoch 1."
        )


def continue_logged_steps(trainer: Trainer) -> None:
    """Set the x-axis of loggers to the number of optimizer steps, as in an uninterrupted run.

    Lightning may count one step twice after a resume, and has no public way to set its count.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
