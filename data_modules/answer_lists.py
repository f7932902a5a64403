"""Answers that are lists, such as ``mass, atelectasis``, whose parts stand in any order."""

from __future__ import annotations

import itertools
import re
from typing import Literal

from data_modules.text import normalise

ListAnswers = Literal["any_order", "as_released"]

#: Longer lists than this count in canonical and in released order only: six parts have 720 orders.
MOST_PARTS = 5

_COMMA = re.compile("[,，]")


def list_references(answer: str, how: ListAnswers) -> tuple[str, ...]:
    """References of one answer that may be a list of parts separated by commas.

    Args:
        answer: The answer as released.
        how: ``as_released``: the whole normalised answer, so the order of the parts counts;
            ``any_order``: first the normalised parts in sorted order, which is the one spelling
            that candidates and vocabulary hold, then every other order, each right as well.

    Returns:
        Distinct normalised references, the usual one first; empty if nothing is left of the answer.
        A list of more than :data:`MOST_PARTS` parts has its sorted and its released order only.

    Example:
        >>> list_references("Mass, Atelectasis", "any_order")
        ('atelectasis mass', 'mass atelectasis')
    """
    whole = normalise(answer)
    if how == "as_released":
        return (whole,) if whole else ()
    parts = sorted(part for part in map(normalise, _COMMA.split(answer)) if part)
    orders = itertools.permutations(parts) if len(parts) <= MOST_PARTS else iter([tuple(parts)])
    # Joined by a comma and normalised again, as the whole answer is.
    references = dict.fromkeys(normalise(", ".join(order)) for order in orders)
    references[whole] = None  # without a space behind the comma it is another spelling
    return tuple(reference for reference in references if reference)
