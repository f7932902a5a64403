"""Runs that differ only in the seed: scores, intervals, and differences from levels."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.statistics import (
    Estimate,
    Interval,
    bootstrap_difference,
    bootstrap_mean,
    mean_std,
    wilson,
)
from amif_lightning.reports.records.answering import PredictionLine, ResultRecord
from amif_lightning.reports.records.retrieval import RetrievalRecord, StudyLine
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.records.schema import broken, first_difference, read_lines
from amif_lightning.reports.records.store import ScoredRecord, find_records

SUBSET_NAMES = {
    OVERALL: "overall",
    "closed/field": "closed (answer_type field)",
    "open/field": "open (answer_type field)",
    "closed/answer": "closed (answer is yes or no)",
    "open/answer": "open (answer is not yes or no)",
}

R = TypeVar("R", bound=ScoredRecord)
L = TypeVar("L", bound=PredictionLine | StudyLine)


def subset_name(subset: str) -> str:
    """Return the printed name of a subset."""
    return SUBSET_NAMES.get(subset, subset.replace("/", " ", 1))


@dataclass(frozen=True)
class Run(Generic[R, L]):
    """One record and its lines, sorted by id; None if their file is missing."""

    path: Path
    record: R
    lines: tuple[L, ...] | None


class Key(NamedTuple):
    """Values that the runs of a group share; the protocol of retrieval is empty."""

    dataset: str
    layout: str
    protocol: str
    split: str
    experiment: str


@dataclass(frozen=True)
class Group(Generic[R, L]):
    """The runs of one configuration on one split, sorted by seed; scores are shares from 0 to 1.

    A measure is the record's ``MAIN`` score (default), or a level to compare it with:
    ``baseline``, ``control`` or ``ceiling``.
    """

    key: Key
    runs: tuple[Run[R, L], ...]
    _intervals: dict[tuple[str, str], Interval | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def first(self) -> R:
        """The first seed's record, for everything that the runs share."""
        return self.runs[0].record

    @property
    def records(self) -> list[R]:
        """The record of each seed."""
        return [run.record for run in self.runs]

    @property
    def label(self) -> str:
        """``VQARAD osf [clean, test]``."""
        key = self.key
        return f"{key.dataset} {key.layout} [{self.first.protocol_label}, {key.split}]"

    @property
    def name(self) -> str:
        """The experiment, marked if its weights were never trained."""
        return self.key.experiment + (" (UNTRAINED)" if self.first.untrained else "")

    @property
    def subsets(self) -> list[str]:
        """Subsets in printing order: overall, both rules, then the question types by name."""
        there = self.first.sizes
        return [s for s in SUBSET_NAMES if s in there] + sorted(set(there) - set(SUBSET_NAMES))

    @property
    def missing(self) -> list[Path]:
        """The paths of missing files of lines."""
        return [_lines_path(run.path, run.record) for run in self.runs if run.lines is None]

    def count(self, subset: str = OVERALL) -> int:
        """Return the number of questions or studies of a subset."""
        return self.first.sizes[subset]

    def right(self, subset: str = OVERALL, measure: str | None = None) -> list[int]:
        """Count correct answers per seed; empty unless every seed has such counts."""
        found = [record.right(measure or record.MAIN, subset) for record in self.records]
        return [count.correct for count in found if count is not None] if None not in found else []

    def values(self, subset: str = OVERALL, measure: str | None = None) -> list[float]:
        """Return the score per seed; empty unless every seed has it."""
        measure = measure or self.first.MAIN
        found = [run.record.score(measure, subset, run.lines) for run in self.runs]
        return [value for value in found if value is not None] if None not in found else []

    def mean(self, subset: str = OVERALL, measure: str | None = None) -> float:
        """Average the score over seeds; every seed must have it."""
        return statistics.fmean(self.values(subset, measure))

    def level(self, measure: str, subset: str = OVERALL) -> float | None:
        """Return `mean`; None unless every seed has the score."""
        values = self.values(subset, measure)
        return statistics.fmean(values) if values else None

    def deviation(self, subset: str = OVERALL, measure: str | None = None) -> float | None:
        """Return the sample standard deviation over seeds; None for one seed."""
        return mean_std(self.values(subset, measure))[1]

    def interval(self, subset: str = OVERALL, measure: str | None = None) -> Interval | None:
        """Compute the 95 % interval of the mean over seeds.

        Wilson for one seed of a measure that counts correct answers, else bootstrap over clusters;
        None if lines are missing or the clusters are too few.
        """
        measure = measure or self.first.MAIN
        only = self.first.right(measure, subset) if len(self.runs) == 1 else None
        if only is not None:
            return wilson(only)
        if self.missing:
            return None
        if (subset, measure) not in self._intervals:  # shared by verdict, table and figure
            lines = self.lines[0]
            scored = [
                place
                for place in self.members(subset)
                if lines[place].value(measure, len(lines)) is not None
            ]
            span = bootstrap_mean(self.table(scored, measure), self.clusters(scored))
            self._intervals[subset, measure] = span
        return self._intervals[subset, measure]

    def above(self, measure: str) -> Estimate | None:
        """Return the main score minus the ``baseline`` or ``control``; None without that level."""
        level = self.level(measure)
        if level is None:
            return None
        value = self.mean() - level
        places = range(0 if self.missing else self.count())
        other = self.table(places, measure) if places else []
        if other:
            span = bootstrap_difference(self.table(places), other, self.clusters(places))
            return Estimate(value, span)
        own = self.interval() if measure == "baseline" else None
        shifted = own and Interval(own.low - level, own.high - level)
        return Estimate(value, shifted, paired=False)

    def of_seeds(self, seeds: Collection[int]) -> Group[R, L]:
        """Return the same configuration with only these seeds."""
        return Group(self.key, tuple(run for run in self.runs if run.record.seed in seeds))

    @property
    def lines(self) -> list[tuple[L, ...]]:
        """The lines of each seed, in the same order; a ValueError if a file is `missing`."""
        lines = [run.lines for run in self.runs if run.lines is not None]
        if len(lines) < len(self.runs):
            raise ValueError("a file of lines is missing")
        return lines

    @property
    def identities(self) -> list[tuple[object, ...]]:
        """The scored questions or studies: equal in configurations on the same task."""
        return [line.identity for line in self.lines[0]]

    def members(self, subset: str) -> list[int]:
        """Return the positions of the lines of a subset."""
        return [i for i, line in enumerate(self.lines[0]) if subset in line.subsets]

    def table(self, places: Sequence[int], measure: str | None = None) -> list[list[float]]:
        """Tabulate (S, Q) scores of the seeds S that have the measure on the chosen lines Q."""
        measure = measure or self.first.MAIN
        rows = (
            [lines[place].value(measure, len(lines)) for place in places] for lines in self.lines
        )
        return [[value for value in row if value is not None] for row in rows if None not in row]

    def clusters(self, places: Sequence[int]) -> list[str]:
        """Return the clusters of the chosen lines, which the bootstrap resamples."""
        return [self.lines[0][place].cluster for place in places]


AnswerGroup = Group[ResultRecord, PredictionLine]
SearchGroup = Group[RetrievalRecord, StudyLine]
AnyGroup = Group[Any, Any]


def collect(folder: Path) -> tuple[list[AnswerGroup], list[SearchGroup]]:
    """Read and group every record under a folder; see `group_runs`."""
    return group_runs(find_records(folder))


def group_runs(
    found: Iterable[tuple[Path, ScoredRecord]],
) -> tuple[list[AnswerGroup], list[SearchGroup]]:
    """Group the seeds of each configuration, and read the lines next to the records.

    Returns configurations that answered and those that searched, sorted by data set, layout,
    protocol, split and experiment.

    Raises:
        UserError: If a file is broken, lines and their record disagree, or records of one group
            cannot be seeds of one configuration.
    """
    groups: dict[str, dict[Key, list[Run[Any, Any]]]] = {"answering": {}, "retrieval": {}}
    for path, record in found:
        protocol = record.protocol if isinstance(record, ResultRecord) else ""
        key = Key(record.dataset, record.layout, protocol, record.split, record.experiment)
        groups[record.kind].setdefault(key, []).append(_read_run(path, record))
    answers, searches = (
        [Group(key, _seeds_of(runs)) for key, runs in sorted(by_key.items())]
        for by_key in groups.values()
    )
    return answers, searches


def _lines_path(path: Path, record: ScoredRecord) -> Path:
    return path.with_name(record.FILE.format(record.split))


def _read_run(path: Path, record: ScoredRecord) -> Run[Any, Any]:
    if record.sizes.get(OVERALL, 0) == 0:
        raise UserError(
            f"{path}: no question was scored, so there is nothing to report; remove it."
        )
    file = _lines_path(path, record)
    if not file.exists():
        return Run(path, record, None)
    lines = tuple(sorted(read_lines(file, record.LINE), key=lambda line: line.id))
    odd = first_difference(*record.numbers(lines))
    if odd:
        raise broken(file, f"the lines give another value of '{odd}' than {path.name}")
    return Run(path, record, lines)


def _seeds_of(members: Iterable[Run[R, L]]) -> tuple[Run[R, L], ...]:
    runs = tuple(sorted(members, key=lambda run: run.record.seed))
    for before, after in pairwise(runs):
        both = f"{before.path} and {after.path}"
        if before.record.seed == after.record.seed:
            raise UserError(
                f"{both} are both seed {after.record.seed} of experiment "
                f"'{after.record.experiment}': move one of them out of the folder."
            )
        odd = _not_shared(before, after)
        if odd:
            raise UserError(
                f"{both} differ in {odd}, so they are not seeds of one configuration: give one of "
                "them another experiment name."
            )
    return runs


def _not_shared(one: Run[R, L], other: Run[R, L]) -> str | None:
    """Name a difference between two runs that seeds of one configuration cannot have."""
    odd = first_difference(one.record.shared, other.record.shared)
    if odd:
        return f"'{odd}'"
    pairs = list(zip(one.lines or (), other.lines or (), strict=False))
    if any(mine.identity != theirs.identity for mine, theirs in pairs):
        return f"the scored {one.record.CASES}"
    for mine, theirs in pairs:
        if None not in (mine.judged, theirs.judged) and mine.judged != theirs.judged:
            return f"the judged pairs ({mine.id})"
    return None
