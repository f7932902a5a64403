"""Candidate answers, answer vocabulary and the scoring rule, all from normalised text."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.questions import VQAExample

VocabularyKind = Literal["words", "answers"]

_OPTIONAL_PART = re.compile(r"\(([^()]*)\)")


def answers_of(row: VQAExample) -> tuple[str, ...]:
    """Normalised answers that a row contributes to candidates and vocabulary.

    A test row may list alternatives that all count as right, and a protocol that shows test answers
    shows all of them; any other row has one answer.

    Args:
        row: A row of any split.

    Returns:
        All references of a test row, the first reference of any other row.
    """
    return row.references if row.split == "test" else row.references[:1]


def candidates(rows: Iterable[VQAExample]) -> list[str]:
    """Distinct normalised answers, the list that ``rank`` chooses from.

    Args:
        rows: Rows whose answers may be used, in released order. The caller decides which splits
            that includes; see ``Splits.answer_rows``.

    Returns:
        Answers by frequency, highest first; ties keep the order of first appearance.
    """
    counts = Counter(answer for row in rows for answer in answers_of(row))
    return [answer for answer, _ in counts.most_common()]


def vocabulary(rows: Iterable[VQAExample], kind: VocabularyKind, size: int) -> list[str]:
    """Entries of the answer vocabulary that the gated cross-attention attends to.

    Words are compared as whole words: a word that is part of a longer one (``no`` in ``node``) is
    an entry of its own.

    Args:
        rows: Rows whose answers may be used, in released order.
        kind: ``words`` for the words of the answers, ``answers`` for whole answers.
        size: Largest number of entries, at least 1.

    Returns:
        At most ``size`` entries by frequency, highest first. Ties between words are in alphabetical
        order, ties between whole answers in order of first appearance.

    Raises:
        ValueError: ``size`` is below 1 or ``kind`` is unknown.
    """
    if size < 1:
        raise ValueError(f"vocabulary size must be at least 1, got {size}")
    if kind == "answers":
        return candidates(rows)[:size]
    if kind != "words":
        raise ValueError(f"vocabulary kind must be 'words' or 'answers', got {kind!r}")
    counts = Counter(word for row in rows for answer in answers_of(row) for word in answer.split())
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def is_correct(prediction: str, row: VQAExample) -> bool:
    """Scores one prediction: exact match after normalisation, no partial credit.

    Args:
        prediction: The predicted answer in any spelling.
        row: The question it answers.

    Returns:
        True if the normalised prediction is one of the row's references.
    """
    return normalise(prediction) in row.references


def med_2019_references(answer: str) -> tuple[str, ...]:
    """Reads one reference answer of the VQA-Med-2019 **test** file.

    In that file ``#`` separates alternatives, any of which is right, and ``(...)`` marks an
    optional part. Training and validation answers hold real parentheses (``ct with (iv) contrast``)
    and must not pass through here. Source: the scoring rules of the ImageCLEF 2019 VQA-Med task.

    Args:
        answer: The answer field as released.

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
            reference = normalise("".join(choice))
            if reference:
                references[reference] = None
    return tuple(references)


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
