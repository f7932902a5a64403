"""Names of the strata that scores are reported for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amif_lightning.data.preprocessing.normalization import is_yes_no
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.evaluation import Count
from amif_lightning.evaluation import tally as count_by_subset

_FIRST = ("overall", "closed/field", "open/field", "closed/answer", "open/answer")


def subsets_of(row: VQAExample) -> tuple[str, ...]:
    """Return the strata of a question.

    Two rules for closed/open are in use and give different numbers, so both are reported:
    ``closed/field`` and ``open/field`` follow the release's ``answer_type`` field (omitted where
    the release has none), ``closed/answer`` and ``open/answer`` test whether the usual answer is
    yes or no.

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
    """Count correct answers by stratum: overall, the closed/open pairs, then the others by name.

    Raises:
        ValueError: The numbers of rows and flags differ.
    """
    counts = count_by_subset(map(subsets_of, rows), correct)
    first = [name for name in _FIRST if name in counts]
    return {name: counts[name] for name in (*first, *sorted(counts.keys() - set(first)))}
