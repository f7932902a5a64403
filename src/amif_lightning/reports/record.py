"""The result record: one ``result-<split>.json`` per scored checkpoint and split.

A record carries everything a reported score needs: the protocol, counts per stratum, the ceiling of
the candidate list, the no-vision floors, the shuffled-image control, and where the run came from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Literal, cast

from amif_lightning.errors import UserError
from amif_lightning.reports.fields import Fields, parse_json
from amif_lightning.reports.files import read_text, write_atomically

SCHEMA_VERSION = 1
PROTOCOLS = ("clean", "literature")
METHODS = ("rank", "generate")
OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class Score:
    """``correct`` right answers out of ``count`` questions."""

    correct: int
    count: int


Scores = dict[str, Score]


@dataclass(frozen=True, slots=True)
class Floors:
    """What is scored without looking at the picture, per stratum.

    Attributes:
        question_only: Most frequent training answer of the question (or its first words).
        same_image_copy: Answer of the training question on the same image with the closest wording.
        majority: The single most frequent training answer.
    """

    question_only: Scores
    same_image_copy: Scores
    majority: Scores


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
    """Wall-clock seconds per part, None for a part that did not run in this process chain."""

    train: float | None = None
    test: float | None = None
    control: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRecord:
    """Everything a reported score carries.

    Attributes:
        experiment: Name of the configuration; runs that differ only in the seed share it.
        dataset: Name of the data class, such as ``VQARAD``.
        layout: Which published layout was read.
        protocol: ``clean`` or ``literature``.
        split: Released split that was scored.
        seed: Training seed.
        test_runs: How often a test of this split was started in the run folder, this one included.
        scores: Right answers per stratum; ``overall`` is always present.
        control: The same with images permuted among the questions; None if it was not run.
        ceiling: Questions whose answer is among the candidates; None without a candidate list.
        floors: The no-vision floors.
        majority_answer: The most frequent training answer.
        candidates: Number of candidate answers; None when answers are generated freely.
        answers_from: Splits whose answers are candidates, such as ``train``.
        method: ``rank`` or ``generate``.
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

    experiment: str
    dataset: str
    layout: str
    protocol: Literal["clean", "literature"]
    split: str
    seed: int
    test_runs: int
    scores: Scores
    control: Scores | None
    ceiling: Scores | None
    floors: Floors
    majority_answer: str
    candidates: int | None
    answers_from: str
    method: Literal["rank", "generate"]
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


def protocol_label(protocol: str, split: str, answers_from: str) -> str:
    """The words every output uses for a protocol (docs/datasets.md, "Protocols").

    Args:
        protocol: ``clean`` or ``literature``.
        split: Released split that was scored.
        answers_from: Splits whose answers are candidates, such as ``train + validation``.
    """
    if protocol != "literature":
        return protocol
    if split in answers_from.split(" + "):
        return f"literature ({split} answers visible)"
    return f"literature (candidates from {answers_from})"


def record_path(folder: str | PathLike[str], split: str) -> Path:
    """``result-<split>.json`` inside a run folder."""
    return Path(folder) / f"result-{split}.json"


def write_record(path: str | PathLike[str], record: ResultRecord) -> None:
    """Check ``record`` by the rules of `read_record`, then write it atomically.

    Args:
        path: ``.../result-<split>.json``.
        record: The record; ``config`` may hold paths, tuples or other objects, written as text.

    Raises:
        UserError: If a field breaks a rule or the file cannot be written.
    """
    path = Path(path)
    data = {"schema_version": SCHEMA_VERSION, **asdict(record)}
    data["config"] = plain(record.config)
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    _parse(parse_json(text, str(path)), path)  # a record that cannot be read must not be written
    write_atomically(path, text)


def read_record(path: str | PathLike[str]) -> ResultRecord:
    """Read and check one record.

    Args:
        path: ``.../result-<split>.json``.

    Returns:
        The record, all types checked and all counts consistent.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or inconsistent.
    """
    path = Path(path)
    return _parse(parse_json(read_text(path), str(path)), path)


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


def _parse(data: object, path: Path) -> ResultRecord:
    top = Fields(data, str(path))
    version = top.integer("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: field 'schema_version' is {version} but this program reads {SCHEMA_VERSION}; "
            "use the program version that wrote the file, or test the checkpoint again."
        )
    scores = _scores(top.inside("scores"))
    if OVERALL not in scores:
        top.field_fails("scores", "must hold the stratum 'overall'")
    floors = top.inside("floors")
    record = ResultRecord(
        experiment=_name(top, "experiment"),
        dataset=_name(top, "dataset"),
        layout=_name(top, "layout"),
        protocol=cast(Literal["clean", "literature"], top.choice("protocol", PROTOCOLS)),
        split=_name(top, "split"),
        seed=top.integer("seed"),
        test_runs=top.integer("test_runs", least=1),
        scores=scores,
        control=_optional_scores(top, "control", scores),
        ceiling=_optional_scores(top, "ceiling", scores),
        floors=Floors(
            **{
                name: _scores(floors.inside(name), scores)
                for name in ("question_only", "same_image_copy", "majority")
            }
        ),
        majority_answer=top.text("majority_answer"),
        candidates=top.optional_integer("candidates", least=1),
        answers_from=_name(top, "answers_from"),
        method=cast(Literal["rank", "generate"], top.choice("method", METHODS)),
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
    floors.finish()
    top.finish()
    if record.method == "rank" and record.ceiling is not None:
        for name, part in scores.items():
            # A ranked answer is a candidate, so more right answers than the ceiling are impossible.
            if part.correct > record.ceiling[name].correct:
                top.field_fails(
                    f"scores.{name}.correct",
                    f"is {part.correct}, above the ceiling {record.ceiling[name].correct} "
                    "that ranking can reach",
                )
    if path.name != f"result-{record.split}.json":
        top.field_fails("split", f"is '{record.split}', which is not the split in the file's name")
    return record


def _name(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if not value.strip():
        fields.field_fails(name, "must not be empty")
    return value


def _scores(fields: Fields, like: Mapping[str, Score] | None = None) -> Scores:
    """Scores per stratum; with ``like``, over exactly the same strata and numbers of questions."""
    names = fields.remaining()
    if like is not None and set(names) != set(like):
        odd = min(set(names) ^ set(like))
        fields.fail(
            f"field '{fields.prefix[:-1]}'",
            f"must have the strata of 'scores', but '{odd}' is only in one of them",
        )
    scores = {}
    for name in names:
        part = fields.inside(name)
        correct, count = part.integer("correct"), part.integer("count")
        part.finish()
        if correct > count:
            part.field_fails("correct", f"is {correct}, more than the count {count}")
        if like is not None and count != like[name].count:
            part.field_fails("count", f"is {count}, but 'scores' has {like[name].count}")
        scores[name] = Score(correct, count)
    return scores


def _optional_scores(top: Fields, name: str, like: Scores) -> Scores | None:
    value = top.value(name)
    return None if value is None else _scores(Fields(value, top.where, f"{name}."), like)


def _versions(top: Fields) -> dict[str, str]:
    versions = top.mapping("versions")
    for name, version in versions.items():
        if not isinstance(version, str):
            top.field_fails(f"versions.{name}", f"must be text, found {version!r}")
    return versions


def _hardware(fields: Fields) -> Hardware:
    hardware = Hardware(
        cpu=fields.text("cpu"),
        cores=fields.integer("cores", least=1),
        memory_gib=fields.optional_number("memory_gib"),
        gpu=fields.optional_text("gpu"),
        devices=fields.integer("devices", least=1),
    )
    fields.finish()
    return hardware


def _durations(fields: Fields) -> Durations:
    seconds = {name: fields.optional_number(name) for name in ("train", "test", "control")}
    for name, value in seconds.items():
        if value is not None and value < 0:
            fields.field_fails(name, f"must not be negative, found {value}")
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
