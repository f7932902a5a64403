"""What the loaders of weights share."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """What an error says, short enough for the middle of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".: ")[:200]
