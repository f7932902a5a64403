"""Provenance of a configuration's runs in tables and notes, for both kinds of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from amif_lightning.reports.analysis.groups import AnyGroup
from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.run import OVERALL, Hardware, RunRecord
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.markdown import Columns, Table
from amif_lightning.reports.render.numbers import compact

T = TypeVar("T")
PACKAGES = ("torch", "lightning", "transformers", "geomloss")


def data_columns(group: Callable[[T], AnyGroup]) -> Columns[T]:
    """Return the columns that name the configuration of a table's item."""
    return (
        ("data", lambda item: f"{group(item).key.dataset} {group(item).key.layout}"),
        ("split", lambda item: group(item).key.split),
        ("experiment", lambda item: group(item).name),
    )


def machines(records: Sequence[RunRecord]) -> str:
    """Name the machine, or one per seed if they differ."""
    return compact((_machine(record.hardware) for record in records), "; ")


def _machine(hardware: Hardware) -> str:
    memory = "" if hardware.memory_gib is None else f", {hardware.memory_gib:.0f} GiB"
    machine = f"{hardware.cpu}, {hardware.cores} cores{memory}"
    if hardware.gpu:
        return f"{hardware.devices} x {hardware.gpu} ({machine})"
    return machine if hardware.devices == 1 else f"{hardware.devices} processes on {machine}"


def time_per_seed(records: Sequence[RunRecord]) -> str:
    """Average each part's duration over the seeds that recorded it; ``before``: see `Durations`."""
    parts = []
    for name in ("before", "train", "test", "control", "blank"):
        values = [getattr(record.durations, name) for record in records]
        known = [value for value in values if value is not None]
        if known:
            title = "train before" if name == "before" else name
            parts.append(f"{title} {numbers.seconds(sum(known) / len(known))}")
    return ", ".join(parts) or "not recorded"


def versions(records: Sequence[RunRecord], packages: Iterable[str]) -> str:
    """Format the versions of the packages that any record names, such as ``torch 2.8.0``."""
    return ", ".join(
        f"{name} {compact(record.versions.get(name, 'unknown') for record in records)}"
        for name in packages
        if any(name in record.versions for record in records)
    )


def facts(group: AnyGroup) -> dict[str, str]:
    """Return the provenance of a configuration's runs for the page, by name."""
    records: Sequence[RunRecord] = group.records
    packages = dict.fromkeys(name for record in records for name in record.versions)
    return {
        "seeds": ", ".join(str(record.seed) for record in records),
        "commit": compact(map(_commit, records)),
        "test runs": compact(record.test_runs for record in records),
        "hardware": machines(records),
        "time per seed": time_per_seed(records),
        "finished (UTC)": ", ".join(record.finished for record in records),
        "weights": compact(record.checkpoint or "no checkpoint" for record in records),
        "versions": versions(records, packages),
        "run folders": ", ".join(str(run.path.parent) for run in group.runs),
    }


def _commit(record: RunRecord) -> str:
    if record.git_commit is None:
        return "unknown"
    state = {True: "with uncommitted changes", False: "clean", None: "state unknown"}
    return f"{record.git_commit} ({state[record.git_dirty]})"


def notes(group: AnyGroup) -> Iterable[str]:
    """Yield sentences on missing files, provenance, differences between seeds, and warnings."""
    records, first = group.records, group.first
    for path in group.missing:
        yield f"{path} is missing, so no interval of a mean or a difference is printed."
    commits = compact(
        (r.git_commit or "unknown")[:10] + (" with uncommitted changes" if r.git_dirty else "")
        for r in records
    )
    seeds = ", ".join(str(record.seed) for record in records)
    method = f"{_method(first)}, " if isinstance(first, ResultRecord) else ""
    packages = versions(records, PACKAGES)
    yield f"{method}seeds {seeds}, commit {commits}" + (f", {packages}." if packages else ".")
    if isinstance(first, ResultRecord):
        done = sum(record.control is not None for record in records)
        if 0 < done < len(records):
            yield f"only {done} of {len(records)} seeds have the control."
    keys = sorted(config_differences(records))
    if keys:
        yield f"the seeds' configurations differ in {', '.join(keys)}."
    yield from dict.fromkeys(text for record in records for text in record.warnings)


def _method(record: ResultRecord) -> str:
    candidates = "no candidate list"
    if record.candidates is not None:
        candidates = f"{record.candidates} candidates from {record.answers_from}"
    if record.method == "file":
        candidates = f"a ceiling of {candidates}, which does not bound them"
    majority = record.baselines.majority[OVERALL]
    return (
        f"method {record.method}, {candidates}, majority answer '{record.majority_answer}' "
        f"{numbers.score([majority.correct], majority.count)}"
    )


# Last parts of configuration names whose values may differ between seeds.
SEED_WISE = {
    "seed_everything",
    "seed",
    "ckpt_path",
    "default_root_dir",
    "dirpath",
    "folder",
    "save_dir",
    "version",
    "config",
    *("answers_own", "answers_shuffled", "answers_blank"),  # the files of `score`
}


def config_differences(records: Sequence[RunRecord]) -> set[str]:
    """Return the dotted names of options that differ between runs and should not."""
    values: dict[str, set[str]] = {}
    flat = [dict(_flatten(record.config)) for record in records]
    for name in set().union(*flat):
        for record, options in zip(records, flat, strict=True):
            option = options.get(name)
            # Each seed may start from its own checkpoint: the run's own seed is no difference.
            text = f"{type(option).__name__} {option!r}"
            text = re.sub(rf"\bseed{record.seed}\b", "seed", text)
            values.setdefault(name, set()).add(text)
    return {
        name
        for name, texts in values.items()
        if len(texts) > 1 and name.rpartition(".")[2] not in SEED_WISE
    }


def option_table(groups: Sequence[AnyGroup]) -> Table:
    """Tabulate the options that differ between configurations, each with its first seed."""
    flat = [dict(_flatten(group.first.config)) for group in groups]
    differing = config_differences([group.first for group in groups]) - {"experiment"}
    rows = (
        (name, *(str(options.get(name, numbers.NONE)) for options in flat))
        for name in sorted(differing)
    )
    header = ("option", *(group.name for group in groups))
    return Table("Options that differ", header, tuple(rows))


def _flatten(value: object, prefix: str = "") -> Iterable[tuple[str, object]]:
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(inner, dict) or not inner:
        yield prefix, value
        return
    for key, item in inner.items():
        yield from _flatten(item, f"{prefix}.{key}".lstrip("."))
