"""Renamed and removed options, so that saved configs and checkpoints still load.

``init_args.X`` is the argument X of any class; other names are keys at the top of a config file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amif_lightning.errors import UserError

#: Old name -> new name; None: removed.
RENAMED: Mapping[str, str | None] = {
    "init_args.least_lr": "init_args.min_lr",
    "init_args.missing_pictures": "init_args.missing_images",
    "init_args.allow_pickle": None,
    "init_args.compare": None,
    "init_args.exclude_uncertain": None,
    "init_args.finding_column": None,
    "init_args.labels_file": None,
    "init_args.per_class": None,
    "init_args.sections_file": None,
    "pictures": "answer_images",
    "pictures.entries": None,
    "alignment_pictures": "alignment_images",
}
ARGUMENT = "init_args."


def current_name(option: str) -> str | None:
    """Return the current name of an option such as ``model.least_lr``; None if it was removed."""
    first, dot, rest = option.partition(".")
    above, _, last = option.rpartition(".")
    if option in RENAMED or not above:
        return RENAMED.get(option, option)
    if first in RENAMED:
        return f"{RENAMED[first]}{dot}{rest}"
    now = RENAMED.get(ARGUMENT + last, ARGUMENT + last)
    return None if now is None else f"{above}.{now.removeprefix(ARGUMENT)}"


def current_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Rename stored constructor arguments; a name may have a prefix that ends in a dot."""
    found = {}
    for name, value in arguments.items():
        above, dot, last = name.rpartition(".")
        renamed = RENAMED.get(ARGUMENT + last, ARGUMENT + last)
        if renamed is not None:
            found[above + dot + renamed.removeprefix(ARGUMENT)] = value
    return found


def read_checkpoint(path: Path) -> tuple[dict[str, Any], bool]:
    """Read a checkpoint without running code from it; return it, and whether options were renamed.

    Raises:
        UserError: If it does not exist, is truncated, or contains anything but plain types.
    """
    import torch
    from lightning.pytorch.utilities.rank_zero import rank_zero_warn

    if not path.is_file():
        raise UserError(f"The checkpoint {path} does not exist: check the path.")
    try:
        # Memory-mapped, because most callers need only the plain types.
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # anything that torch's unpickler or zip reader raises
        raise UserError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}): it is damaged or not "
            "a checkpoint of this suite; train again or copy it again."
        ) from error
    if "state_dict" not in loaded:
        raise UserError(f"{path} holds no state_dict: give a checkpoint that `fit` wrote.")
    stored = loaded.get("hyper_parameters", {})
    now = current_arguments(stored)
    renamed = list(now) != list(stored)
    if renamed:
        loaded["hyper_parameters"] = now
        rank_zero_warn(f"{path} contains old option names; the current names are used.")
    return loaded, renamed
