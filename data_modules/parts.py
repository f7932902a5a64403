"""What the mixtures of questions and of studies share: their parts and how they are named."""

from __future__ import annotations

import os
from collections.abc import Sequence

from amif_lightning.errors import UserError
from data_modules.texts import TextDataModule


def folder_of(parts: Sequence[TextDataModule]) -> str:
    """The folder that holds all parts, for messages."""
    return os.path.commonpath([os.path.abspath(part.root) for part in parts])


def check_parts(names: Sequence[str], parts: Sequence[TextDataModule]) -> None:
    """Ids begin with the data set's name, so each may be there once.

    Args:
        names: Name of each part's data set.
        parts: The parts.

    Raises:
        UserError: If two parts have one name.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            first = parts[names.index(name)].root
            raise UserError(
                f"Two parts of the mixture are {name} ({first} and {parts[place].root}), whose ids "
                "are the same: name every data set once."
            )


def joint_selection(
    name: str, parts: Sequence[TextDataModule], held_out: Sequence[TextDataModule]
) -> dict[str, str | int | float | bool]:
    """The selections of several data sets as one, for a checkpoint.

    Args:
        name: Name of the mixture.
        parts: Its parts.
        held_out: Data sets whose pictures were left out.

    Returns:
        ``dataset`` (the mixture's name), every part's values as ``<data set>.<key>``, and
        ``held_out``, comma-separated, where there is any.
    """
    joint: dict[str, str | int | float | bool] = {"dataset": name}
    for part in parts:
        joint |= {f"{part.dataset}.{key}": value for key, value in part.selection().items()}
    names = ", ".join(sorted({module.dataset for module in held_out}))
    return joint | ({"held_out": names} if names else {})
