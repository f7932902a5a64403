"""What every result record holds, whatever was scored: the run, its machine, where it came from."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.evaluation import Count
from amif_lightning.reports.records.schema import (
    FieldError,
    Line,
    Model,
    Name,
    NotNegative,
    Number,
    Positive,
    broken,
    parse,
)

SCHEMA_VERSION = 1
OVERALL = "overall"
#: Right answers per subset.
Scores = dict[str, Count]


class Hardware(Model):
    """The machine of a run.

    Attributes:
        cpu: Processor model.
        cores: Cores this process may use.
        memory_gib: Main memory in GiB, None where the system does not say.
        gpu: Name of the accelerator, None without one.
        devices: Number of processes (CPU) or accelerators used.
    """

    cpu: str
    cores: Positive
    memory_gib: float | None
    gpu: str | None = None
    devices: Positive = 1


class Durations(Model):
    """Wall-clock seconds per part, None for a part that did not run in this process chain.

    Attributes:
        train: Training that led to the scored weights.
        test: Scoring.
        control: Scoring with shuffled images.
        before: Training of the checkpoint that the weights started from (``init_from``), with all
            that went before it; None without one, or where it does not say.
    """

    train: NotNegative | None = None
    test: NotNegative | None = None
    control: NotNegative | None = None
    before: NotNegative | None = None


def plain(value: object) -> Any:
    """``value`` as JSON types: mappings, lists, numbers and text.

    What JSON cannot hold (paths, infinities, objects) becomes its text: a strange configuration
    value must not cost the result at the end of a training run.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    return str(value)


def _utc(value: str) -> str:
    try:
        offset = datetime.fromisoformat(value).utcoffset()
    except ValueError:
        offset = None
    if offset != timedelta(0):
        raise ValueError("must be an ISO time in UTC")
    return value


class RunRecord(Model):
    """The fields that both kinds of records share.

    Attributes:
        experiment: Name of the configuration; runs that differ only in the seed share it.
        dataset: Name of the data class, such as ``VQARAD``.
        layout: Which published layout was read.
        split: Released split that was scored.
        seed: Training seed.
        test_runs: How often a test of this split was started in the run folder, this one included.
        warnings: Sentences that every output of this run repeats.
        config: The run's configuration; made plain JSON values.
        versions: Package name to installed version.
        git_commit: Commit of the source tree, None outside a work tree.
        git_dirty: Whether tracked files differed from it, None outside a work tree.
        hardware: The machine.
        durations: Seconds per part.
        checkpoint: File the weights came from, None without one.
        finished: Time of completion, ISO 8601 in UTC.
        untrained: Whether the weights were never trained.
    """

    schema_version: Literal[1] = 1
    experiment: Name
    dataset: Name
    layout: Name
    split: Name
    seed: Number
    test_runs: Positive
    warnings: tuple[str, ...]
    config: Annotated[dict[str, Any], BeforeValidator(plain)] = Field(repr=False)
    versions: dict[str, str] = Field(repr=False)
    git_commit: str | None
    git_dirty: bool | None
    hardware: Hardware
    durations: Durations
    checkpoint: str | None
    finished: Annotated[str, AfterValidator(_utc)]
    untrained: bool

    # Fields that stand behind the scores, for which a person opens the file.
    _LAST: ClassVar[tuple[str, ...]] = (
        "warnings",
        "config",
        "versions",
        "git_commit",
        "git_dirty",
        "hardware",
        "durations",
        "checkpoint",
        "finished",
        "untrained",
    )


class ScoredRecord(RunRecord, ABC):
    """A record of either kind: what reports ask, whatever was scored.

    Attributes:
        MAIN: The measure that configurations are judged and compared by.
        CASES: What is scored: ``questions`` or ``studies``.
        LINE: The model of the lines beside the record.
        FILE: Name of their file, with a place for the split.
    """

    MAIN: ClassVar[str]
    CASES: ClassVar[str]
    LINE: ClassVar[type[Line]]
    FILE: ClassVar[str]

    @property
    @abstractmethod
    def protocol_label(self) -> str:
        """What is printed of the protocol."""

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Number of questions or studies per subset, without empty subsets."""

    @property
    @abstractmethod
    def shared(self) -> dict[str, object]:
        """What the seeds of one configuration share, by the words for it."""

    @abstractmethod
    def score(self, measure: str, subset: str, lines: Sequence[Any] | None) -> float | None:
        """A share from 0 to 1; None without it. Some measures need the lines."""

    def right(self, measure: str, subset: str) -> Count | None:
        """The right answers that a measure counts; None for one that is no count."""
        return None

    @abstractmethod
    def numbers(self, lines: Sequence[Any]) -> tuple[dict[str, object], dict[str, object]]:
        """What the record says of its lines, and what they come to; equal in sound files."""


R = TypeVar("R", bound=RunRecord)


def record_path(folder: str | PathLike[str], split: str) -> Path:
    """``result-<split>.json`` inside a run folder."""
    return Path(folder) / f"result-{split}.json"


def write_record(path: str | PathLike[str], record: RunRecord) -> None:
    """Write a record atomically.

    Args:
        path: ``.../result-<split>.json``.
        record: The record.

    Raises:
        UserError: If the file's name has another split or the file cannot be written.
    """
    _check_name(Path(path), record)
    data = record.model_dump(mode="json")
    data |= {name: data.pop(name) for name in RunRecord._LAST}
    write_atomically(Path(path), json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_record(path: str | PathLike[str], model: type[R]) -> R:
    """Read and check a record of one kind.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or inconsistent.
    """
    path = Path(path)
    record = parse(model, read_text(path), path)
    _check_name(path, record)
    return record


def _check_name(path: Path, record: RunRecord) -> None:
    if path.name != record_path("", record.split).name:
        reason = f"is '{record.split}', which is not the split in the file's name"
        raise broken(path, FieldError("split", reason))
