"""Finding the records under a folder and gathering the seeds of one configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from amif_lightning.data.schema.question_splits import protocol_label
from amif_lightning.errors import UserError
from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.seeds import seeds_of
from amif_lightning.reports.records.answering import (
    PredictionLine,
    ResultRecord,
    counted,
    predictions_path,
)
from amif_lightning.reports.records.run import OVERALL, RunRecord
from amif_lightning.reports.records.schema import broken, first_difference, read_lines
from amif_lightning.reports.records.store import find_records

if TYPE_CHECKING:  # NumPy is imported where intervals are drawn only
    from numpy.typing import ArrayLike

STRATA = (OVERALL, "closed/field", "open/field", "closed/answer", "open/answer")
STRATUM_NAMES = {
    OVERALL: "overall",
    "closed/field": "closed (answer_type field)",
    "open/field": "open (answer_type field)",
    "closed/answer": "closed (answer is yes or no)",
    "open/answer": "open (answer is not yes or no)",
}


def stratum_name(stratum: str) -> str:
    """The words printed for a stratum."""
    return STRATUM_NAMES.get(stratum, stratum.replace("/", " ", 1))


@dataclass(frozen=True)
class Run:
    """One record and its predictions, sorted by question_id; None where the file is missing."""

    path: Path
    record: ResultRecord
    predictions: tuple[PredictionLine, ...] | None

    @property
    def missing_file(self) -> Path:
        """Where the prediction file belongs."""
        return predictions_path(self.path.parent, self.record.split)


class Key(NamedTuple):
    """What the runs of a group share."""

    dataset: str
    layout: str
    experiment: str
    protocol: str
    split: str


@dataclass(frozen=True)
class Difference:
    """Accuracy minus something, as share of the questions.

    Attributes:
        value: The difference of mean accuracies.
        interval: Its 95 % interval; None where it cannot be computed.
        paired: Whether the interval is paired by question; otherwise the other side is taken as a
            fixed number.
    """

    value: Fraction
    interval: statistics.Interval | None
    paired: bool


@dataclass(frozen=True)
class Group:
    """The runs of one configuration on one split: equal but for the seed, sorted by seed."""

    key: Key
    runs: tuple[Run, ...]

    @property
    def first(self) -> ResultRecord:
        """A record to read what all runs share."""
        return self.runs[0].record

    @property
    def records(self) -> list[ResultRecord]:
        """The records per seed."""
        return [run.record for run in self.runs]

    @property
    def label(self) -> str:
        """``VQARAD osf [clean, test]``."""
        return f"{self.key.dataset} {self.key.layout} [{self.protocol}, {self.key.split}]"

    @property
    def protocol(self) -> str:
        """The protocol's printed label."""
        return protocol_label(self.key.protocol, self.key.split, self.first.answers_from)

    @property
    def name(self) -> str:
        """The experiment, marked where its weights were never trained."""
        return self.key.experiment + (" (UNTRAINED)" if self.first.untrained else "")

    @property
    def strata(self) -> list[str]:
        """Strata in printing order: overall, both rules, then the question types by name."""
        scores = [name for name, part in self.first.scores.items() if part.count]
        return [name for name in STRATA if name in scores] + sorted(set(scores) - set(STRATA))

    @property
    def missing(self) -> list[Path]:
        """Prediction files that are not there."""
        return [run.missing_file for run in self.runs if run.predictions is None]

    def count(self, stratum: str = OVERALL) -> int:
        """Questions of a stratum."""
        return self.first.scores[stratum].count

    def correct(self, stratum: str = OVERALL) -> list[int]:
        """Right answers per seed."""
        return [run.record.scores[stratum].correct for run in self.runs]

    def control(self, stratum: str = OVERALL) -> list[int] | None:
        """Right answers per seed with shuffled images; None unless every seed has the control."""
        counts = [run.record.control[stratum].correct for run in self.runs if run.record.control]
        return counts if len(counts) == len(self.runs) else None

    @property
    def controlled(self) -> int:
        """Number of seeds with the control."""
        return sum(run.record.control is not None for run in self.runs)

    def accuracy(self, stratum: str = OVERALL) -> Fraction:
        """Mean accuracy over seeds, exact."""
        return Fraction(sum(self.correct(stratum)), len(self.runs) * self.count(stratum))

    def deviation(self, stratum: str = OVERALL) -> float | None:
        """Sample standard deviation of the accuracy over seeds; None for one seed."""
        count = self.count(stratum)
        return statistics.mean_std([part / count for part in self.correct(stratum)])[1]

    def interval(self, stratum: str = OVERALL) -> statistics.Interval | None:
        """95 % interval: Wilson for one seed, bootstrap over images for several."""
        if len(self.runs) == 1:
            return statistics.wilson(self.correct(stratum)[0], self.count(stratum))
        if self.missing:
            return None
        if stratum not in self._intervals:  # the verdict, the table and the figure all ask
            chosen = self._members(stratum)
            span = statistics.bootstrap_mean(self.answers(chosen), self._images(chosen))
            self._intervals[stratum] = span
        return self._intervals[stratum]

    @cached_property
    def _intervals(self) -> dict[str, statistics.Interval | None]:
        return {}

    @cached_property
    def above_baseline(self) -> Difference:
        """Accuracy minus the question-only baseline."""
        baseline = Fraction(self.first.baselines.question_only[OVERALL].correct, self.count())
        lines = next(
            (run for run in self._lines or [] if run[0].baseline_correct is not None), None
        )
        value = self.accuracy() - baseline
        if lines is None:
            own = self.interval()
            shifted = own and statistics.Interval(
                own.low - float(baseline), own.high - float(baseline)
            )
            return Difference(value, shifted, paired=False)
        return self._paired(value, [bool(line.baseline_correct) for line in lines])

    @cached_property
    def above_control(self) -> Difference | None:
        """Accuracy minus that of the same networks with shuffled images; None without control."""
        control = self.control()
        if control is None:
            return None
        value = self.accuracy() - Fraction(sum(control), len(control) * self.count())
        lines = self._lines
        if lines is None:
            return Difference(value, None, paired=False)
        return self._paired(value, [[bool(line.control_correct) for line in run] for run in lines])

    def _paired(self, value: Fraction, right: ArrayLike) -> Difference:
        """The difference to other answers to the same questions, with its bootstrap interval."""
        questions = range(self.count())
        interval = statistics.bootstrap_difference(
            self.answers(questions), right, self._images(questions)
        )
        return Difference(value, interval, paired=True)

    @cached_property
    def _lines(self) -> list[tuple[PredictionLine, ...]] | None:
        lines = [run.predictions for run in self.runs if run.predictions is not None]
        return lines if len(lines) == len(self.runs) else None

    @property
    def lines(self) -> list[tuple[PredictionLine, ...]]:
        """Predictions per seed in one order of questions.

        Raises:
            ValueError: If a prediction file is missing; ask `missing` first.
        """
        if self._lines is None:
            raise ValueError("a prediction file is missing")
        return self._lines

    @cached_property
    def _all_answers(self) -> list[list[bool]]:
        return [[line.correct for line in run] for run in self.lines]

    def answers(self, chosen: Sequence[int]) -> list[list[bool]]:
        """Right or wrong per seed (S) for the chosen questions (Q), shape (S, Q)."""
        return [[run[index] for index in chosen] for run in self._all_answers]

    def _members(self, stratum: str) -> list[int]:
        return [i for i, line in enumerate(self.lines[0]) if stratum in line.strata]

    def _images(self, chosen: Iterable[int]) -> list[str]:
        return [self.lines[0][index].image for index in chosen]


def collect(folder: Path) -> list[Group]:
    """Read every record of answers under ``folder`` and group the seeds of each configuration.

    Args:
        folder: Searched with all its subfolders for ``result-*.json``; records of searches are
            passed over.

    Returns:
        Groups sorted by data set, layout, protocol, split and experiment.

    Raises:
        UserError: If the folder or records are missing, a file is broken, a prediction file and its
            record disagree, or records of one group cannot be seeds of one configuration.
    """
    return group_answers(find_records(folder))


def group_answers(records: Iterable[tuple[Path, RunRecord]]) -> list[Group]:
    """Group the records of answers, read with the predictions beside them; see `collect`."""
    runs: dict[Key, list[Run]] = {}
    for path, record in records:
        if not isinstance(record, ResultRecord):
            continue
        key = Key(record.dataset, record.layout, record.experiment, record.protocol, record.split)
        runs.setdefault(key, []).append(_read_run(path, record))
    groups = [
        Group(key, seeds_of(key.experiment, members, _not_shared)) for key, members in runs.items()
    ]
    return sorted(groups, key=lambda g: (g.key[:2], g.key.protocol, g.key.split, g.key.experiment))


def _read_run(path: Path, record: ResultRecord) -> Run:
    if record.scores[OVERALL].count == 0:
        raise UserError(
            f"{path}: no question was scored, so there is nothing to report; remove it."
        )
    file = predictions_path(path.parent, record.split)
    if not file.exists():
        return Run(path, record, None)
    lines = sorted(read_lines(file, PredictionLine), key=lambda line: line.question_id)
    _agree(record, lines, file)
    return Run(path, record, tuple(lines))


def _agree(record: ResultRecord, lines: Sequence[PredictionLine], file: Path) -> None:
    """Raise unless the predictions give exactly the record's counts."""
    found = counted(lines)
    expected = {
        "scores": record.scores,
        "control": record.control,
        # Not every run looked up which questions the baseline answers.
        "baselines.question_only": found["baselines.question_only"]
        and record.baselines.question_only,
        "knowledge": record.knowledge,
    }
    odd = first_difference(expected, found)
    if odd:
        raise broken(file, f"the lines give another value of '{odd}' than the record")


def _not_shared(one: Run, other: Run) -> str | None:
    """What differs between two runs although seeds of one configuration share it."""
    a, b = one.record, other.record
    if {k: v.count for k, v in a.scores.items()} != {k: v.count for k, v in b.scores.items()}:
        return "the number of questions per stratum"
    for name in ("ceiling", "baselines", "candidates", "answers_from", "method", "untrained"):
        if getattr(a, name) != getattr(b, name):
            return f"'{name}'"
    if one.predictions is not None and other.predictions is not None:
        same = [(p.question_id, p.image) for p in one.predictions] == [
            (p.question_id, p.image) for p in other.predictions
        ]
        if not same:
            return "the questions they answer"
    return None
