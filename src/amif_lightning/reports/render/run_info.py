"""What tables and notes say of where the runs of a configuration came from, for both kinds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from amif_lightning.reports.analysis.groups import AnyGroup
from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.run import OVERALL, Hardware, RunRecord
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.numbers import compact

PACKAGES = ("torch", "lightning", "transformers", "geomloss")


def machines(records: Sequence[RunRecord]) -> str:
    """The machine, or one per seed where they differ."""
    return compact([_machine(record.hardware) for record in records], "; ")


def _machine(hardware: Hardware) -> str:
    memory = "" if hardware.memory_gib is None else f", {hardware.memory_gib:.0f} GiB"
    machine = f"{hardware.cpu}, {hardware.cores} cores{memory}"
    if hardware.gpu:
        return f"{hardware.devices} x {hardware.gpu} ({machine})"
    return machine if hardware.devices == 1 else f"{hardware.devices} processes on {machine}"


def time_per_seed(records: Sequence[RunRecord]) -> str:
    """Mean duration of each part over the seeds that recorded it.

    ``train before`` is the training of the checkpoint that the runs started from.
    """
    parts = []
    for name, title in (
        ("before", "train before"),
        ("train", "train"),
        ("test", "test"),
        ("control", "control"),
    ):
        values = [getattr(record.durations, name) for record in records]
        known = [value for value in values if value is not None]
        if known:
            parts.append(f"{title} {numbers.seconds(sum(known) / len(known))}")
    return ", ".join(parts) or "not recorded"


def sources(records: Sequence[RunRecord]) -> str:
    """Seeds, commit and versions, such as ``seeds 0, 1, commit 0123456789, torch 2.8.0``."""
    commits = compact(
        [
            (r.git_commit or "unknown")[:10] + (" with uncommitted changes" if r.git_dirty else "")
            for r in records
        ]
    )
    versions = ", ".join(
        f"{name} {compact([r.versions.get(name, 'unknown') for r in records])}"
        for name in PACKAGES
        if any(name in r.versions for r in records)
    )
    seeds = ", ".join(str(r.seed) for r in records)
    return f"seeds {seeds}, commit {commits}" + (f", {versions}" if versions else "")


def notes(group: AnyGroup) -> Iterable[str]:
    """What a reader must know beside the numbers: missing files, provenance, warnings."""
    head, records = f"{group.label}, {group.key.experiment}", group.records
    for path in group.missing:
        yield f"{head}: {path} is missing, so no interval of a mean or a difference is printed."
    first = group.first
    made = f"{_method(first)}, " if isinstance(first, ResultRecord) else ""
    yield f"{head}: {made}{sources(records)}."
    if isinstance(first, ResultRecord):
        done = sum(record.control is not None for record in records)
        if 0 < done < len(records):
            yield f"{head}: only {done} of {len(records)} seeds have the control."
    keys = sorted(config_differences(records))
    if keys:
        yield f"{head}: the seeds' configurations differ in {', '.join(keys)}."
    for sentence in dict.fromkeys(text for record in records for text in record.warnings):
        yield f"{head}: {sentence}"


def _method(record: ResultRecord) -> str:
    candidates = "no candidate list"
    if record.candidates is not None:
        candidates = f"{record.candidates} candidates from {record.answers_from}"
    majority = record.baselines.majority[OVERALL]
    return (
        f"method {record.method}, {candidates}, majority answer '{record.majority_answer}' "
        f"{numbers.score([majority.correct], majority.count)}"
    )


# Last parts of configuration names that are meant to differ between seeds.
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
}


def config_differences(records: Sequence[RunRecord]) -> set[str]:
    """Dotted names whose values differ between runs, but for those meant to (`SEED_WISE`)."""
    flat = [dict(_flatten(record.config)) for record in records]
    names = set().union(*flat)
    return {
        name
        for name in names
        if name.rpartition(".")[2] not in SEED_WISE
        and len(
            {
                _seedless(values.get(name), record)
                for values, record in zip(flat, records, strict=True)
            }
        )
        > 1
    }


def _seedless(value: object, record: RunRecord) -> str:
    """``value`` as text without the run's own seed: each seed starts from its own checkpoint."""
    return re.sub(rf"\bseed{record.seed}\b", "seed", f"{type(value).__name__} {value!r}")


def _flatten(value: object, prefix: str = "") -> Iterable[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _flatten(item, f"{prefix}.{index}")
    else:
        yield prefix, value
