"""The seeds of one pre-training configuration: means, deviations and intervals of its search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.groups import Difference
from amif_lightning.reports.analysis.seeds import seeds_of
from amif_lightning.reports.records.retrieval import (
    JUDGED,
    Averages,
    Measure,
    RetrievalRecord,
    StudyLine,
    averages,
    studies_path,
)
from amif_lightning.reports.records.run import RunRecord
from amif_lightning.reports.records.schema import broken, first_difference, read_lines
from amif_lightning.reports.records.store import find_records


@dataclass(frozen=True)
class SearchRun:
    """One record and its lines, sorted by study_id; None where the file is missing."""

    path: Path
    record: RetrievalRecord
    lines: tuple[StudyLine, ...] | None


class SearchKey(NamedTuple):
    """What the runs of a group share."""

    dataset: str
    layout: str
    experiment: str
    split: str


@dataclass(frozen=True)
class RetrievalGroup:
    """The runs of one configuration on one split: equal but for the seed, sorted by seed.

    Scores are shares from 0 to 1, averaged over both directions.
    """

    key: SearchKey
    runs: tuple[SearchRun, ...]

    @property
    def first(self) -> RetrievalRecord:
        """A record to read what all runs share."""
        return self.runs[0].record

    @property
    def records(self) -> list[RetrievalRecord]:
        """The records per seed."""
        return [run.record for run in self.runs]

    @property
    def label(self) -> str:
        """``Phantom 112px [retrieval, test]``."""
        return f"{self.key.dataset} {self.key.layout} [retrieval, {self.key.split}]"

    @property
    def name(self) -> str:
        """The experiment, marked where its weights were never trained."""
        return self.key.experiment + (" (UNTRAINED)" if self.first.untrained else "")

    @property
    def ks(self) -> tuple[int, ...]:
        """The numbers of nearest studies that were looked at."""
        return self.first.mean.ks

    @property
    def missing(self) -> list[Path]:
        """Files of lines that are not there."""
        return [
            studies_path(run.path.parent, self.key.split) for run in self.runs if run.lines is None
        ]

    def values(self, measure: Measure = "precision", k: int = JUDGED) -> list[Fraction]:
        """The score per seed."""
        return [statistics.rational(getattr(r.mean, measure)[k]) for r in self.records]

    def mean(self, measure: Measure = "precision", k: int = JUDGED) -> Fraction:
        """Mean score over seeds."""
        return sum(self.values(measure, k), Fraction(0)) / len(self.runs)

    def deviation(self, measure: Measure = "precision", k: int = JUDGED) -> float | None:
        """Sample standard deviation of the score over seeds; None for one seed."""
        return statistics.mean_std([float(value) for value in self.values(measure, k)])[1]

    def interval(
        self, measure: Measure = "precision", k: int = JUDGED
    ) -> statistics.Interval | None:
        """95 % interval of the mean over seeds, by bootstrap over groups of studies.

        None where lines are missing or the groups of studies are too few.
        """
        if self.missing:
            return None
        key = (measure, k)
        if key not in self._intervals:  # the table and the figure both ask
            self._intervals[key] = statistics.bootstrap_mean(
                self.per_study(measure, k), self.together
            )
        return self._intervals[key]

    @cached_property
    def _intervals(self) -> dict[tuple[Measure, int], statistics.Interval | None]:
        return {}

    def chance(self, measure: Measure = "precision", k: int = JUDGED) -> Fraction:
        """What a random order reaches on average."""
        return statistics.rational(getattr(self.first.chance, measure)[k])

    @cached_property
    def above_chance(self) -> Difference:
        """Precision at `JUDGED` minus that of a random order, paired by study."""
        value = self.mean() - self.chance()
        if self.missing:
            return Difference(value, None, paired=False)
        count = self.first.studies
        luck = [line.relevant / count for line in self.lines[0]]
        span = statistics.bootstrap_difference(self.per_study("precision"), luck, self.together)
        return Difference(value, span, paired=True)

    @property
    def constant(self) -> Fraction | None:
        """Precision at `JUDGED` of the best list that is the same for every query.

        What a search reaches that looks at no query: it names the studies that are relevant to most
        others. None where lines are missing.
        """
        if self.missing:
            return None
        counts = sorted((line.relevant for line in self.lines[0]), reverse=True)[:JUDGED]
        return Fraction(sum(counts), len(counts) * self.first.studies)

    @property
    def lines(self) -> list[tuple[StudyLine, ...]]:
        """Lines per seed in one order of studies.

        Raises:
            ValueError: If a file of lines is missing; ask `missing` first.
        """
        lines = [run.lines for run in self.runs if run.lines is not None]
        if len(lines) < len(self.runs):
            raise ValueError("a file of lines is missing")
        return lines

    @property
    def together(self) -> list[str]:
        """The group of each study: what intervals draw."""
        return [line.group for line in self.lines[0]]

    @property
    def studies(self) -> list[tuple[str, str, int]]:
        """What makes two searches the same task: ids, groups and numbers of relevant studies."""
        return identities(self.lines[0])

    def per_study(self, measure: Measure, k: int = JUDGED) -> list[list[float]]:
        """The score per seed (S) and study (N), shape (S, N)."""
        return [[line.mean(measure, k) for line in run] for run in self.lines]


def identities(lines: Iterable[StudyLine]) -> list[tuple[str, str, int]]:
    """Id, group and number of relevant studies of every line."""
    return [(line.study_id, line.group, line.relevant) for line in lines]


def collect_searches(folder: Path) -> list[RetrievalGroup]:
    """Read every record of a search under ``folder`` and group the seeds of each configuration.

    Args:
        folder: Searched with all its subfolders for ``result-*.json``; records of answers are
            passed over.

    Returns:
        Groups sorted by data set, layout, split and experiment.

    Raises:
        UserError: If the folder or records are missing, a file is broken, lines and their record
            disagree, or records of one group cannot be seeds of one configuration.
    """
    return group_searches(find_records(folder))


def group_searches(records: Iterable[tuple[Path, RunRecord]]) -> list[RetrievalGroup]:
    """Group the records of searches, read with the lines beside them; see `collect_searches`."""
    runs: dict[SearchKey, list[SearchRun]] = {}
    for path, record in records:
        if not isinstance(record, RetrievalRecord):
            continue
        key = SearchKey(record.dataset, record.layout, record.experiment, record.split)
        runs.setdefault(key, []).append(_read_run(path, record))
    groups = [
        RetrievalGroup(key, seeds_of(key.experiment, members, _not_shared))
        for key, members in runs.items()
    ]
    return sorted(groups, key=lambda g: (g.key.dataset, g.key.layout, g.key.split, g.name))


def _read_run(path: Path, record: RetrievalRecord) -> SearchRun:
    file = studies_path(path.parent, record.split)
    if not file.exists():
        return SearchRun(path, record, None)
    lines = tuple(sorted(read_lines(file, StudyLine), key=lambda line: line.study_id))
    own = {name: getattr(record, name) for name in Averages.model_fields}
    odd = first_difference(own, dict(averages(lines)))
    if odd:
        raise broken(file, f"the lines give another value of '{odd}' than the record")
    return SearchRun(path, record, lines)


def _not_shared(one: SearchRun, other: SearchRun) -> str | None:
    """What differs between two runs although seeds of one configuration share it."""
    a, b = one.record, other.record
    for name in ("studies", "untrained"):
        if getattr(a, name) != getattr(b, name):
            return f"'{name}'"
    if first_difference(a.chance.precision, b.chance.precision) or first_difference(
        a.ceiling, b.ceiling
    ):
        return "'chance' or 'ceiling'"
    for name in ("zero_shot", "teacher_kl"):
        if (getattr(a, name) is None) != (getattr(b, name) is None):
            return f"whether '{name}' is null"
    if one.lines is None or other.lines is None:
        return None
    if identities(one.lines) != identities(other.lines):
        return "the studies that they search"
    for mine, theirs in zip(one.lines, other.lines, strict=True):
        if mine.pairs is None or theirs.pairs is None:
            break  # a sentence beside the tables of pairs says which seeds have none
        if mine.pairs.judged != theirs.pairs.judged:
            return f"the pairs that they judge (study {mine.study_id})"
    return None
