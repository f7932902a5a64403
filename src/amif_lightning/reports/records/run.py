"""Fields that result records of both kinds share: the run, its machine and its provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.evaluation import Count
from amif_lightning.reports.records import schema

SCHEMA_VERSION = 1
OVERALL = "overall"
#: Correct answers per subset.
Scores = dict[str, Count]


class Hardware(schema.Model):
    """The machine of a run."""

    cpu: str
    cores: schema.Positive  # cores that the process may use
    memory_gib: schema.Real | None  # None if unknown
    gpu: str | None = None  # None without an accelerator
    devices: schema.Positive = 1  # processes (CPU) or accelerators used


class Durations(schema.Model):
    """Wall-clock seconds; None for a part that did not run."""

    train: schema.NotNegative | None = None
    test: schema.NotNegative | None = None
    control: schema.NotNegative | None = None
    blank: schema.NotNegative | None = None
    # All training of the checkpoint in `init_from`; None without one or if it does not record it.
    before: schema.NotNegative | None = None


def plain(value: object) -> Any:
    """Convert a value to JSON types; paths, infinities and objects become text."""
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


class RunRecord(schema.Model):
    """The shared fields."""

    schema_version: Literal[1] = 1
    experiment: schema.Name  # runs that differ only in the seed share it
    dataset: schema.Name  # name of the data class, such as ``VQARAD``
    layout: schema.Name  # the published layout that was read
    split: schema.Name
    seed: schema.Number
    # How often a test of this split was started in the run folder, this one included.
    test_runs: schema.Positive
    warnings: tuple[str, ...]  # sentences that every output of this run repeats
    config: Annotated[dict[str, Any], BeforeValidator(plain)] = Field(repr=False)
    versions: dict[str, str] = Field(repr=False)
    git_commit: str | None  # None outside a work tree, as ``git_dirty``
    git_dirty: bool | None  # whether tracked files differed from the commit
    hardware: Hardware
    durations: Durations
    checkpoint: str | None  # file of the weights; None without one
    finished: Annotated[str, AfterValidator(_utc)]  # time of completion, ISO 8601 in UTC
    untrained: bool


R = TypeVar("R", bound=RunRecord)


def record_path(folder: str | PathLike[str], split: str) -> Path:
    """Return the path of ``result-<split>.json`` in a run folder."""
    return Path(folder) / f"result-{split}.json"


def write_record(path: str | PathLike[str], record: RunRecord) -> None:
    """Write a record atomically to ``.../result-<split>.json``.

    Raises:
        UserError: If the file's name has another split or the file cannot be written.
    """
    _check_name(Path(path), record)
    data = record.model_dump(mode="json")
    # People open the file for the scores: provenance comes after them.
    shared = list(RunRecord.model_fields)
    data |= {name: data.pop(name) for name in shared[shared.index("warnings") :]}
    write_atomically(Path(path), json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_record(path: str | PathLike[str], model: type[R]) -> R:
    """Read a record of one kind; a UserError names the first field that is missing or wrong."""
    path = Path(path)
    record = schema.parse(model, read_text(path), path)
    _check_name(path, record)
    return record


def _check_name(path: Path, record: RunRecord) -> None:
    if path.name != record_path("", record.split).name:
        reason = f"is '{record.split}', which is not the split in the file's name"
        raise schema.broken(path, schema.FieldError("split", reason))
