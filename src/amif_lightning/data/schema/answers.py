"""Candidate answers, answer vocabulary and the scoring rule, all on normalised text."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.questions import VQAExample

VocabularyKind = Literal["words", "answers"]
ListAnswers = Literal["any_order", "as_released"]

#: Longer lists count in sorted and released order only: six parts already have 720 orders.
MAX_PARTS = 5

_OPTIONAL_PART = re.compile(r"\(([^()]*)\)")
_COMMA = re.compile("[,，]")


def answers_of(row: VQAExample) -> tuple[str, ...]:
    """Return the answers that a row adds to candidates and vocabulary.

    A test row may list several correct alternatives and adds all of them; any other row adds its
    first reference.
    """
    return row.references if row.split == "test" else row.references[:1]


def candidates(rows: Iterable[VQAExample]) -> list[str]:
    """Return the distinct answers that ``rank`` chooses from, most frequent first.

    Ties keep the order of first appearance, so pass the rows in released order. The caller decides
    which splits are included; see ``Splits.answer_rows``.
    """
    counts = Counter(answer for row in rows for answer in answers_of(row))
    return [answer for answer, _ in counts.most_common()]


def vocabulary(rows: Iterable[VQAExample], kind: VocabularyKind, size: int) -> list[str]:
    """Return the entries that the gated cross-attention attends to, most frequent first.

    A word that is part of a longer one (``no`` in ``node``) is its own entry.

    Args:
        rows: Rows whose answers may be used, in released order.
        kind: ``words`` for the words of the answers, ``answers`` for whole answers.
        size: Largest number of entries.

    Returns:
        At most ``size`` entries. Ties between words are sorted alphabetically, ties between whole
        answers by first appearance.
    """
    if kind == "answers":
        return candidates(rows)[:size]
    counts = Counter(word for row in rows for answer in answers_of(row) for word in answer.split())
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def is_correct(prediction: str, row: VQAExample) -> bool:
    """Return whether the normalised prediction equals a reference; there is no partial credit."""
    return normalise(prediction) in row.references


def med_2019_references(answer: str) -> tuple[str, ...]:
    """Return the references of one answer of the VQA-Med-2019 **test** file.

    In that file ``#`` separates alternatives, each of which is correct, and ``(...)`` marks an
    optional part. Do not use it for training and validation answers, which contain real parentheses
    (``ct with (iv) contrast``). Source: the scoring rules of the ImageCLEF 2019 VQA-Med task.

    Returns:
        Distinct normalised references: for each alternative in order, first with every optional
        part, then with fewer. Empty if nothing is left after normalisation.

    Example:
        >>> med_2019_references("mr (t2) weighted#mri")
        ('mr t2 weighted', 'mr weighted', 'mri')
    """
    references: dict[str, None] = {}
    for alternative in answer.split("#"):
        # The pieces alternate: fixed text, optional part, fixed text, ...
        pieces = _OPTIONAL_PART.split(alternative)
        choices = [[p, ""] if i % 2 else [p] for i, p in enumerate(pieces)]
        for choice in itertools.product(*choices):
            references[normalise("".join(choice))] = None
    return tuple(reference for reference in references if reference)


def list_references(answer: str, how: ListAnswers) -> tuple[str, ...]:
    """Return the references of an answer that may be a comma-separated list.

    Args:
        answer: The answer as released.
        how: ``as_released``: the whole normalised answer, so the order of the parts counts;
            ``any_order``: the normalised parts in every order, sorted order first. Candidates and
            vocabulary contain the sorted order.

    Returns:
        Distinct normalised references; empty if nothing is left after normalisation. A list of more
        than :data:`MAX_PARTS` parts has its sorted and its released order only.

    Example:
        >>> list_references("Mass, Atelectasis", "any_order")
        ('atelectasis mass', 'mass atelectasis')
    """
    whole = normalise(answer)
    if how == "as_released":
        return (whole,) if whole else ()
    parts = sorted(part for part in map(normalise, _COMMA.split(answer)) if part)
    orders = itertools.permutations(parts) if len(parts) <= MAX_PARTS else iter([tuple(parts)])
    # Joined by a comma and normalised again, as the whole answer is.
    references = dict.fromkeys(normalise(", ".join(order)) for order in orders)
    references[whole] = None  # differs where no space follows the comma
    return tuple(reference for reference in references if reference)
