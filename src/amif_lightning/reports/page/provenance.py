"""Where each configuration's runs came from: code, machine, times, warnings, configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amif_lightning.reports.analysis.groups import AnyGroup
from amif_lightning.reports.records.run import RunRecord
from amif_lightning.reports.render.numbers import compact
from amif_lightning.reports.render.run_info import machines, notes, time_per_seed


@dataclass(frozen=True)
class RunSource:
    """One configuration.

    Attributes:
        name: The experiment, marked where it was never trained.
        where: Data set, protocol and split.
        facts: What the records say of the runs, by its name.
        remarks: Missing files, differences between seeds, warnings, dropped rows.
        config: The configuration of the first seed as YAML.
        config_seed: That seed.
    """

    name: str
    where: str
    facts: Mapping[str, str]
    remarks: tuple[str, ...]
    config: str
    config_seed: int


def source(group: AnyGroup) -> RunSource:
    """What the records of a configuration say of its runs."""
    import yaml  # the Markdown report needs none

    records: Sequence[RunRecord] = group.records
    packages = dict.fromkeys(name for record in records for name in record.versions)
    facts = {
        "seeds": ", ".join(str(record.seed) for record in records),
        "commit": compact([_commit(record) for record in records]),
        "test runs": compact([record.test_runs for record in records]),
        "hardware": machines(records),
        "time per seed": time_per_seed(records),
        "finished (UTC)": ", ".join(record.finished for record in records),
        "weights": compact([record.checkpoint or "no checkpoint" for record in records]),
        "versions": ", ".join(
            f"{name} {compact([record.versions.get(name, 'unknown') for record in records])}"
            for name in packages
        ),
        "run folders": ", ".join(str(run.path.parent) for run in group.runs),
    }
    head = f"{group.label}, {group.key.experiment}: "
    lines = notes(group)
    return RunSource(
        name=group.name,
        where=group.label,
        facts=facts,
        remarks=tuple(line.removeprefix(head) for line in lines),
        config=yaml.safe_dump(dict(records[0].config), sort_keys=False, allow_unicode=True),
        config_seed=records[0].seed,
    )


def _commit(record: RunRecord) -> str:
    if record.git_commit is None:
        return "unknown"
    state = {True: "with uncommitted changes", False: "clean", None: "state unknown"}
    return f"{record.git_commit} ({state[record.git_dirty]})"


def unfinished(folder: Path) -> list[Path]:
    """Run folders below ``folder`` that hold a configuration and no result."""
    return sorted(
        file.parent
        for file in folder.rglob("config.yaml")
        if not any(file.parent.glob("result-*.json"))
    )
