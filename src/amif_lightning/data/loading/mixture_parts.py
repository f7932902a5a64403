"""What the mixtures of questions and of studies share: their parts and how they are named."""

from __future__ import annotations

import os
from collections.abc import Sequence

from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.errors import UserError


def folder_of(parts: Sequence[TextDataModule]) -> str:
    """The folder that holds all parts, for messages."""
    return os.path.commonpath([os.path.abspath(part.root) for part in parts])


def check_parts(parts: Sequence[TextDataModule], held_out: Sequence[TextDataModule]) -> None:
    """Ids begin with the data set's name, so each may be there once, as a part or as held out.

    Args:
        parts: The parts.
        held_out: Data sets whose images are left out.

    Raises:
        UserError: If two have one name, or a part is a mixture itself.
    """
    seen: dict[str, TextDataModule] = {}
    for module in parts:
        if hasattr(module, "parts"):
            raise UserError(
                f"{type(module).__name__} is a part of a mixture and a mixture itself: name its "
                "parts directly."
            )
        if module.dataset in seen:
            raise UserError(
                f"Two parts of the mixture are {module.dataset} ({seen[module.dataset].root} and "
                f"{module.root}), whose ids are the same: name every data set once."
            )
        seen[module.dataset] = module
    for module in held_out:
        if module.dataset in seen:
            raise UserError(
                f"{module.dataset} is a part of the mixture and held out of it: leave it out of "
                "held_out, for no part trains on what another part validates or tests on."
            )


def joint_selection(
    name: str, parts: Sequence[TextDataModule], held_out: Sequence[TextDataModule]
) -> dict[str, str | int | float | bool]:
    """The selections of several data sets as one, for a checkpoint.

    Args:
        name: Name of the mixture.
        parts: Its parts.
        held_out: Data sets whose images were all looked for and left out.

    Returns:
        ``dataset`` (the mixture's name), every part's values as ``<data set>.<key>``, and
        ``held_out``, comma-separated, where there is any.
    """
    joint: dict[str, str | int | float | bool] = {"dataset": name}
    for part in parts:
        joint |= {f"{part.dataset}.{key}": value for key, value in part.selection().items()}
    names = ", ".join(sorted({module.dataset for module in held_out}))
    return joint | ({"held_out": names} if names else {})
