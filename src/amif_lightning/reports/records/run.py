"""What every result record holds, whatever was scored: the run, its machine, where it came from.

The two kinds of records, answering (`record`) and retrieval (`retrieval_record`), add their scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal

from amif_lightning.data.files.atomic import write_atomically
from amif_lightning.errors import UserError
from amif_lightning.reports.records.fields import Fields, parse_json

SCHEMA_VERSION = 1
Kind = Literal["answering", "retrieval"]
KINDS = ("answering", "retrieval")


@dataclass(frozen=True, slots=True)
class Score:
    """``correct`` right answers out of ``count`` questions or studies."""

    correct: int
    count: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine of a run.

    Attributes:
        cpu: Processor model.
        cores: Cores this process may use.
        memory_gib: Main memory in GiB, None where the system does not say.
        gpu: Name of the accelerator, None without one.
        devices: Number of processes (CPU) or accelerators used.
    """

    cpu: str
    cores: int
    memory_gib: float | None
    gpu: str | None = None
    devices: int = 1


@dataclass(frozen=True, slots=True)
class Durations:
    """Wall-clock seconds per part, None for a part that did not run in this process chain.

    Attributes:
        train: Training that led to the scored weights.
        test: Scoring.
        control: Scoring with shuffled images.
        before: Training of the checkpoint that the weights started from (``init_from``), with all
            that went before it; None without one, or where it does not say.
    """

    train: float | None = None
    test: float | None = None
    control: float | None = None
    before: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The fields that both kinds of records share.

    Attributes:
        kind: What was scored; a subclass fixes it.
        experiment: Name of the configuration; runs that differ only in the seed share it.
        dataset: Name of the data class, such as ``VQARAD``.
        layout: Which published layout was read.
        split: Released split that was scored.
        seed: Training seed.
        test_runs: How often a test of this split was started in the run folder, this one included.
        warnings: Sentences that every output of this run repeats.
        config: The run's configuration as plain JSON values.
        versions: Package name to installed version.
        git_commit: Commit of the source tree, None outside a work tree.
        git_dirty: Whether tracked files differed from it, None outside a work tree.
        hardware: The machine.
        durations: Seconds per part.
        checkpoint: File the weights came from, None without one.
        finished: Time of completion, ISO 8601 in UTC.
        untrained: Whether the weights were never trained.
    """

    kind: ClassVar[Kind]
    experiment: str
    dataset: str
    layout: str
    split: str
    seed: int
    test_runs: int
    warnings: tuple[str, ...]
    config: Mapping[str, Any] = field(repr=False)
    versions: Mapping[str, str] = field(repr=False)
    git_commit: str | None
    git_dirty: bool | None
    hardware: Hardware
    durations: Durations
    checkpoint: str | None
    finished: str
    untrained: bool

    def shared(self) -> dict[str, Any]:
        """These fields by name, for the constructor of a record of either kind."""
        return {part.name: getattr(self, part.name) for part in fields(RunRecord)}


# A person who opens the file looks for the scores: these stand behind them.
_BEHIND = (
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


def record_path(folder: str | PathLike[str], split: str) -> Path:
    """``result-<split>.json`` inside a run folder."""
    return Path(folder) / f"result-{split}.json"


def write_checked(path: Path, record: RunRecord, parse: Callable[[object, Path], object]) -> None:
    """Write a record atomically, once its text has passed the rules that it will be read by.

    Args:
        path: ``.../result-<split>.json``.
        record: The record; ``config`` may hold paths, tuples or other objects, written as text.
        parse: The reader of this kind: (JSON value, path) to a record.

    Raises:
        UserError: If a field breaks a rule or the file cannot be written.
    """
    values = asdict(record)
    values["config"] = plain(record.config)
    behind = {name: values.pop(name) for name in _BEHIND}
    # Files of answers are older than the field: it stays out of them, so that old programs read on.
    named = {} if record.kind == "answering" else {"kind": record.kind}
    data = {"schema_version": SCHEMA_VERSION, **named, **values, **behind}
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    parse(parse_json(text, str(path)), path)  # a record that cannot be read must not be written
    write_atomically(path, text)


def kind_of(data: object, path: Path) -> str:
    """What the record in ``data`` scored; a record that does not say is of the answering kind.

    Raises:
        UserError: If it names another kind than there are.
    """
    top = Fields(data, str(path))
    return top.choice("kind", KINDS) if "kind" in top.remaining() else "answering"


def opened(data: object, path: Path, kind: Kind) -> Fields:
    """The fields of a record of the expected kind, without ``schema_version`` and ``kind``.

    Raises:
        UserError: If the schema version or the kind is another.
    """
    top = Fields(data, str(path))
    version = top.integer("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: field 'schema_version' is {version} but this program reads {SCHEMA_VERSION}; "
            "use the program version that wrote the file, or test the checkpoint again."
        )
    found = kind_of(data, path)
    if found != kind:
        top.field_fails("kind", f"is '{found}', but a record of kind '{kind}' is expected here")
    if "kind" in top.remaining():
        top.value("kind")
    return top


def shared_fields(top: Fields, path: Path) -> dict[str, Any]:
    """Take the fields that both kinds share; the keys are those of `RunRecord`.

    Raises:
        UserError: Naming the field that is missing or breaks a rule.
    """
    record = RunRecord(
        experiment=name(top, "experiment"),
        dataset=name(top, "dataset"),
        layout=name(top, "layout"),
        split=name(top, "split"),
        seed=top.integer("seed"),
        test_runs=top.integer("test_runs", minimum=1),
        warnings=top.texts("warnings"),
        config=top.mapping("config"),
        versions=_versions(top),
        git_commit=top.optional_text("git_commit"),
        git_dirty=top.optional_flag("git_dirty"),
        hardware=_hardware(top.inside("hardware")),
        durations=_durations(top.inside("durations")),
        checkpoint=top.optional_text("checkpoint"),
        finished=_utc(top),
        untrained=top.flag("untrained"),
    )
    if path.name != record_path("", record.split).name:
        top.field_fails("split", f"is '{record.split}', which is not the split in the file's name")
    return record.shared()


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


def name(fields: Fields, field: str) -> str:
    """A text that is not empty."""
    value = fields.text(field)
    if not value.strip():
        fields.field_fails(field, "must not be empty")
    return value


def score(fields: Fields) -> Score:
    """The object ``{correct, count}`` and nothing else, with correct <= count."""
    correct, count = fields.integer("correct"), fields.integer("count")
    fields.finish()
    if correct > count:
        fields.field_fails("correct", f"is {correct}, more than the count {count}")
    return Score(correct, count)


def _versions(top: Fields) -> dict[str, str]:
    versions = top.mapping("versions")
    for package, version in versions.items():
        if not isinstance(version, str):
            top.field_fails(f"versions.{package}", f"must be text, found {version!r}")
    return versions


def _hardware(fields: Fields) -> Hardware:
    hardware = Hardware(
        cpu=fields.text("cpu"),
        cores=fields.integer("cores", minimum=1),
        memory_gib=fields.optional_number("memory_gib"),
        gpu=fields.optional_text("gpu"),
        devices=fields.integer("devices", minimum=1),
    )
    fields.finish()
    return hardware


def _durations(fields: Fields) -> Durations:
    parts = ["train", "test", "control"]
    # Records written before runs could start from others do not have the field.
    parts += ["before"] if "before" in fields.remaining() else []
    seconds = {part: fields.optional_number(part) for part in parts}
    for part, value in seconds.items():
        if value is not None and value < 0:
            fields.field_fails(part, f"must not be negative, found {value}")
    fields.finish()
    return Durations(**seconds)


def _utc(top: Fields) -> str:
    value = top.text("finished")
    try:
        offset = datetime.fromisoformat(value).utcoffset()
    except ValueError:
        offset = None
    if offset != timedelta(0):
        top.field_fails("finished", f"must be an ISO time in UTC, found {value!r}")
    return value
