"""Strata that scores are reported for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amif_lightning.data.preprocessing.normalization import is_yes_no
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.evaluation import Count
from amif_lightning.evaluation import tally as count_by_subset

_FIRST = ("overall", "closed/field", "open/field", "closed/answer", "open/answer")


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
