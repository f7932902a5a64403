"""Renamed and removed options, so that saved configs and checkpoints still load.

``init_args.X`` is the argument X of any class; other names are keys at the top of a config file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
