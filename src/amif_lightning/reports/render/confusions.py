"""The wrong answers that a configuration gives most often, by question type."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from amif_lightning.reports.analysis.groups import AnswerGroup
from amif_lightning.reports.render.markdown import Columns, Table, build

EACH = 3
_LEGEND = (
    f"Up to {EACH} pairs of correct and given answer for each question type, counted over the "
    "questions of all seeds; a question with several correct answers counts for the first."
)


class _Confusion(NamedTuple):
    kind: str
    correct: str
    given: str
    times: int
    asked: int


_COLUMNS: Columns[_Confusion] = (
    ("question type", lambda row: row.kind),
    ("correct answer", lambda row: row.correct),
    ("given answer", lambda row: row.given),
    ("times", lambda row: f"{row.times} of {row.asked}"),
)


def confusion_table(group: AnswerGroup) -> Table:
    """Tabulate the most frequent wrong answers; without prediction files there are no rows."""
    asked: Counter[str] = Counter()
    wrong: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for run in group.runs:
        for line in run.lines or ():
            kind = line.question_type or "all"
            asked[kind] += 1
            if not line.correct:
                wrong[kind][line.references[0], line.prediction or "(nothing)"] += 1
    rows = [
        _Confusion(kind, *pair, times, asked[kind])
        for kind in sorted(wrong)
        # Equal counts in the order of the words, so that the page does not depend on the rows.
        for pair, times in sorted(wrong[kind].items(), key=lambda one: (-one[1], one[0]))[:EACH]
    ]
    return build("Frequent wrong answers", _COLUMNS, rows, _LEGEND)
