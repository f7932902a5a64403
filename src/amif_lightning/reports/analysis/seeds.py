"""The seeds of one configuration, whatever they scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol, TypeVar

from amif_lightning.errors import UserError
from amif_lightning.reports.records.run import RunRecord


class SeedRun(Protocol):
    """A run that was read: its record and where that lies."""

    @property
    def path(self) -> Path:
        """The record's file."""

    @property
    def record(self) -> RunRecord:
        """The record."""


R = TypeVar("R", bound=SeedRun)


def seeds_of(
    experiment: str, members: Iterable[R], not_shared: Callable[[R, R], str | None]
) -> tuple[R, ...]:
    """The runs of one configuration, sorted by seed.

    Args:
        experiment: Its name, for the message.
        members: Its runs.
        not_shared: What differs between two runs although seeds of one configuration share it, in
            words; None where nothing does.

    Raises:
        UserError: If two runs have the same seed, or cannot be seeds of one configuration.
    """
    runs = tuple(sorted(members, key=lambda run: run.record.seed))
    for before, after in pairwise(runs):
        if before.record.seed == after.record.seed:
            raise UserError(
                f"{before.path} and {after.path} are both seed {after.record.seed} of experiment "
                f"'{experiment}': move one of them out of the folder."
            )
        odd = not_shared(before, after)
        if odd:
            raise UserError(
                f"{before.path} and {after.path} differ in {odd}, so they are not seeds of one "
                "configuration: give one of them another experiment name."
            )
    return runs


def compact(seeds: Sequence[object], separator: str = ", ") -> str:
    """Values per seed: one if all are equal, else all of them."""
    values = [str(value) for value in seeds]
    return values[0] if len(set(values)) == 1 else separator.join(values)


def count_of(runs: Sequence[object]) -> str:
    """``1 seed`` or ``3 seeds``."""
    return "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"
