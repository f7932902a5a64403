"""Whether a split can be shared among processes: refusals before anything waits for another."""

from __future__ import annotations

from amif_lightning.errors import UserError


def check_shards(where: str, split: str, studies: int, processes: int) -> None:
    """Each process needs a study, or it has nothing to gather with the others.

    Args:
        where: The data set and its folder, for the message.
        split: Name of the split.
        studies: How many studies it has.
        processes: How many processes share them.

    Raises:
        UserError: If there are fewer studies than processes.
    """
    if studies < processes:
        raise UserError(
            f"{where} has {studies} {split} studies for {processes} "
            f"processes: give --trainer.devices {studies} or less."
        )


def check_batch(where: str, studies: int, batch_size: int, processes: int) -> None:
    """Each process needs a full batch, for a last batch that is not full is left out.

    Args:
        where: The data set and its folder, for the message.
        studies: How many training studies an epoch shows.
        batch_size: Studies of one batch on one process.
        processes: How many processes share them.

    Raises:
        UserError: If no process could fill a batch.
    """
    largest = -(-studies // processes)  # shards are filled up to equal length
    if largest < batch_size:
        raise UserError(
            f"{where} has {studies} training studies, fewer than one "
            f"batch of {batch_size} on each of {processes} process(es): give "
            f"--data.init_args.batch_size {largest} or less."
        )
