"""Options that had another name, or were removed: saved configs and checkpoints are still read.

One table serves both. ``init_args.X`` stands for the argument X of any class, everything else for
a key at the top of a config file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Old name -> new name; None: removed.
RENAMED: Mapping[str, str | None] = {
    "init_args.least_lr": "init_args.min_lr",
    "init_args.missing_pictures": "init_args.missing_images",
    "init_args.allow_pickle": None,
    "pictures": "answer_images",
    "pictures.entries": None,
    "alignment_pictures": "alignment_images",
}
ARGUMENT = "init_args."


def new_name(option: str) -> str | None:
    """The name that an option has now.

    Args:
        option: A dotted name as on the command line, such as ``model.init_args.least_lr`` or
            ``model.least_lr``.

    Returns:
        The new name; None where the option has its old one or is unknown.
    """
    first, _, rest = option.partition(".")
    renamed = RENAMED.get(first)
    if renamed is not None:
        return f"{renamed}.{rest}" if rest else renamed
    above, _, last = option.rpartition(".")
    renamed = RENAMED.get(ARGUMENT + last) if above else None
    return f"{above}.{renamed.removeprefix(ARGUMENT)}" if renamed else None


def removed(option: str) -> bool:
    """Whether an option, written as for :func:`new_name`, was removed without a successor."""
    return option in RENAMED and RENAMED[option] is None


def current_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments as a checkpoint holds them, under the names that they have now.

    Args:
        arguments: Values by name; a name may have a prefix that ends in a dot.
    """
    found = {}
    for name, value in arguments.items():
        above, dot, last = name.rpartition(".")
        renamed = RENAMED.get(ARGUMENT + last, ARGUMENT + last)
        if renamed is not None:
            found[above + dot + renamed.removeprefix(ARGUMENT)] = value
    return found
