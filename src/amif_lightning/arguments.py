"""Checks of constructor arguments, for callers in Python that bypass the parser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from amif_lightning.errors import UserError


def check_choice(name: str, word: str, choices: object) -> None:
    """Raise a UserError unless ``word`` is one of the ``choices`` (a ``Literal``)."""
    known = get_args(choices)
    if word not in known:
        raise UserError(f"data.init_args.{name} is {word!r}: give one of {', '.join(known)}.")


def check_minimum(limits: Mapping[str, tuple[int, int]]) -> None:
    """Raise a UserError for the first argument below its minimum; ``limits`` hold (value, min)."""
    for name, (number, minimum) in limits.items():
        if number < minimum:
            raise UserError(f"data.init_args.{name} is {number}: give at least {minimum}.")
