"""Names of the strata that scores are split into, and the one place where they are counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amif_lightning.data.preprocessing.normalization import is_yes_no
from amif_lightning.data.schema.questions import VQAExample

#: Below this many questions a share is printed as counts only.
SMALLEST_PRINTED_PERCENTAGE = 30


@dataclass(frozen=True, slots=True)
class Count:
    """How many of a stratum's questions are right.

    Attributes:
        correct: Number of right answers, 0 to ``count``.
        count: Number of questions.
    """

    correct: int
    count: int

    @property
    def percent(self) -> float | None:
        """Share in percent (0 to 100), rounded once, halves up; None without questions.

        In whole numbers, as reports round: 691 of 2000 is 34.6, where floats would say 34.5.
        """
        return (2000 * self.correct + self.count) // (2 * self.count) / 10 if self.count else None

    def __str__(self) -> str:
        """Gives ``37.0 (167/451)``, or ``3/7`` alone for fewer than 30 questions."""
        if self.count < SMALLEST_PRINTED_PERCENTAGE:
            return f"{self.correct}/{self.count}"
        return f"{self.percent} ({self.correct}/{self.count})"


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
    right: dict[str, int] = {}
    total: dict[str, int] = {}
    for row, flag in zip(rows, correct, strict=True):
        for name in subsets_of(row):
            right[name] = right.get(name, 0) + int(flag)
            total[name] = total.get(name, 0) + 1
    return {name: Count(right[name], total[name]) for name in sorted(total, key=_position)}


def _position(name: str) -> tuple[int, str]:
    fixed = ("overall", "closed/field", "open/field", "closed/answer", "open/answer")
    return (fixed.index(name) if name in fixed else len(fixed), name)
