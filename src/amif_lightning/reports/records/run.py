"""The fields that result records of both kinds share: the run, its machine and its provenance."""

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
from amif_lightning.reports.records.schema import (
    FieldError,
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
#: Correct answers per subset.
Scores = dict[str, Count]


class Hardware(Model):
    """The machine of a run; memory is None where unknown, gpu without an accelerator.

    Devices are the processes (CPU) or accelerators used, cores those that a process may use.
    """

    cpu: str
    cores: Positive
    memory_gib: float | None
    gpu: str | None = None
    devices: Positive = 1


class Durations(Model):
    """Wall-clock seconds of training, test and control; None for a part that did not run.

    ``before`` is the training of the checkpoint that the weights started from (``init_from``), with
    all training before it; None without one, or where the checkpoint does not record it.
    """

    train: NotNegative | None = None
    test: NotNegative | None = None
    control: NotNegative | None = None
    before: NotNegative | None = None


def plain(value: object) -> Any:
    """Convert a value to JSON types.

    Anything that JSON cannot hold (paths, infinities, objects) becomes text: an unusual
    configuration value must not cost the result of a training run.
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
    """The shared fields.

    Attributes:
        experiment: Name of the configuration; runs that differ only in the seed share it.
        dataset: Name of the data class, such as ``VQARAD``.
        layout: The published layout that was read.
        test_runs: How often a test of this split was started in the run folder, this one included.
        warnings: Sentences that every output of this run repeats.
        config: The run's configuration, converted to plain JSON values.
        git_commit: Commit of the source tree; None outside a work tree.
        git_dirty: Whether tracked files differed from it; None outside a work tree.
        checkpoint: File of the weights; None without one.
        finished: Time of completion, ISO 8601 in UTC.
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


R = TypeVar("R", bound=RunRecord)


def record_path(folder: str | PathLike[str], split: str) -> Path:
    """``result-<split>.json`` inside a run folder."""
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
