"""The nearest valid name to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name most like ``name``, upper and lower case counted as equal.

    Args:
        name: What was typed.
        valid: The names that would have been accepted.

    Returns:
        One of ``valid``, or None where nothing is alike.
    """
    by_lower = {candidate.lower(): candidate for candidate in valid}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(name: str, valid: Iterable[str], *, show: int = 12) -> str:
    """A closing clause for an error message: the nearest name, else the list of names.

    Args:
        name: What was typed.
        valid: The names that would have been accepted.
        show: How many names a list may hold before it is left out.

    Returns:
        A clause that starts with ``; `` or is empty.
    """
    names = sorted(set(valid))
    found = nearest(name, names)
    if found is not None:
        return f"; did you mean `{found}`?"
    return f"; use one of {', '.join(names)}" if 0 < len(names) <= show else ""
