"""Checks of constructor arguments, which a caller in Python hands over without any parser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from amif_lightning.errors import UserError


def check_choice(name: str, word: str, choices: object) -> None:
    """Refuse a word that is none of a few.

    Args:
        name: Name of the constructor argument.
        word: What was given.
        choices: The words that are known, as a ``Literal``.

    Raises:
        UserError: Naming the argument and the words that are known.
    """
    known = get_args(choices)
    if word not in known:
        raise UserError(f"data.init_args.{name} is {word!r}: give one of {', '.join(known)}.")


def check_minimum(limits: Mapping[str, tuple[int, int]]) -> None:
    """Refuse numbers that are too small.

    Args:
        limits: Per constructor argument what was given and the least that makes sense.

    Raises:
        UserError: Naming the first argument that is below its least value.
    """
    for name, (number, minimum) in limits.items():
        if number < minimum:
            raise UserError(f"data.init_args.{name} is {number}: give at least {minimum}.")
