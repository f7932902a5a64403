"""Names of the strata that scores are split into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amif_lightning.data.preprocessing.normalization import is_yes_no
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.evaluation import Count
from amif_lightning.evaluation import tally as count_by_subset


def subsets_of(row: VQAExample) -> tuple[str, ...]:
    """Names the strata a question belongs to.

    Two rules for closed/open are in use and give different numbers, so both are reported:
    ``closed/field`` and ``open/field`` follow the release's ``answer_type`` field (none where the
    release has no such field), ``closed/answer`` and ``open/answer`` ask whether the usual answer
    is yes or no.

    Args:
        row: The question.

    Returns:
        ``overall``, the field stratum if there is one, the answer stratum, ``type/<question_type>``
        if there is a type, and in a mixture ``data/<data set>``.
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
    """Counts right answers per stratum.

    Args:
        rows: The questions.
        correct: One flag per question, in the same order.

    Returns:
        Counts by stratum: overall, the closed/open pairs, then the types in alphabetical order.

    Raises:
        ValueError: The numbers of rows and flags differ.
    """
    counts = count_by_subset(map(subsets_of, rows), correct)
    return {name: counts[name] for name in sorted(counts, key=_position)}


def _position(name: str) -> tuple[int, str]:
    fixed = ("overall", "closed/field", "open/field", "closed/answer", "open/answer")
    return (fixed.index(name) if name in fixed else len(fixed), name)
