"""Candidate answers, answer vocabulary, the scoring rule and the strata that are scored."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from amif_lightning.data.preprocessing.normalization import is_yes_no, normalise
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.evaluation import Count
from amif_lightning.evaluation import tally as count_by_subset

VocabularyKind = Literal["words", "answers"]
ListAnswers = Literal["any_order", "as_released"]

#: Longest list with all orders as references; six parts already have 720.
MAX_PARTS = 5

_OPTIONAL_PART = re.compile(r"\(([^()]*)\)")
_COMMA = re.compile("[,，]")
_FIRST = ("overall", "closed/field", "open/field", "closed/answer", "open/answer")


def answers_of(row: VQAExample) -> tuple[str, ...]:
    """Return the answers that a row adds to candidates and vocabulary.

    A test row may have several correct alternatives and adds all references; other rows add one.
    """
    return row.references if row.split == "test" else row.references[:1]


def candidates(rows: Iterable[VQAExample]) -> list[str]:
    """Return the distinct answers of rows that ``rank`` chooses from, most frequent first.

    Ties keep the order of first appearance, so pass the rows in released order.
    """
    counts = Counter(answer for row in rows for answer in answers_of(row))
    return [answer for answer, _ in counts.most_common()]


def vocabulary(rows: Iterable[VQAExample], kind: VocabularyKind, size: int) -> list[str]:
    """Return at most ``size`` entries for the gated cross-attention, most frequent first.

    Args:
        rows: Rows that provide the answers, in released order.
        kind: ``words``: whole words of the answers, ties in alphabetical order; ``answers``: whole
            answers, ties in order of first appearance.
        size: Maximum number of entries.
    """
    if kind == "answers":
        return candidates(rows)[:size]
    counts = Counter(word for row in rows for answer in answers_of(row) for word in answer.split())
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def is_correct(prediction: str, row: VQAExample) -> bool:
    """Return whether the normalised prediction equals a reference, without partial credit."""
    return normalise(prediction) in row.references


def med_2019_references(answer: str) -> tuple[str, ...]:
    """Return the references of one answer of the VQA-Med-2019 **test** file.

    In that file ``#`` separates correct alternatives and ``(...)`` marks an optional part (scoring
    rules of the ImageCLEF 2019 VQA-Med task). In training and validation answers, parentheses are
    part of the text (``ct with (iv) contrast``).

    Returns:
        Distinct normalised references, possibly none. Alternatives keep their order; each appears
        first with all optional parts, then with fewer.

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
        how: ``as_released``: the order of the parts counts; ``any_order``: every order is a
            reference, the sorted one first. Candidates and vocabulary contain the first reference.

    Returns:
        Distinct normalised references, possibly none. Lists of more than :data:`MAX_PARTS` parts
        only have their sorted and their released order.

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


def subsets_of(row: VQAExample) -> tuple[str, ...]:
    """Return the strata of a question, starting with ``overall``.

    Two rules for closed questions are common and give different numbers. ``closed/field`` and
    ``open/field`` follow the release's ``answer_type``, if present; ``closed/answer`` and
    ``open/answer`` test whether the usual answer is yes or no. ``type/<question_type>`` and, in
    mixtures, ``data/<data set>`` follow.
    """
    names = ["overall"]
    if row.answer_type:
        names.append(f"{row.answer_type}/field")
    names.append("closed/answer" if is_yes_no(row.references[0]) else "open/answer")
    if row.question_type:
        names.append(f"type/{row.question_type}")
    if row.source:
        names.append(f"data/{row.source}")
    return tuple(names)


def tally(rows: Iterable[VQAExample], correct: Sequence[bool]) -> dict[str, Count]:
    """Count correct answers by stratum: overall, the closed/open pairs, then the others by name.

    Raises:
        ValueError: The numbers of rows and flags differ.
    """
    counts = count_by_subset(map(subsets_of, rows), correct)
    first = [name for name in _FIRST if name in counts]
    return {name: counts[name] for name in (*first, *sorted(counts.keys() - set(first)))}
