"""Where each configuration's runs came from: code, machine, times, warnings, configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amif_lightning.reports.analysis.groups import Group
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.analysis.seeds import compact
from amif_lightning.reports.records.run import RunRecord
from amif_lightning.reports.render.run_info import machines, time_per_seed
from amif_lightning.reports.render.tables import notes, retrieval_notes


@dataclass(frozen=True)
class RunSource:
    """One configuration.

    Attributes:
        name: The experiment, marked where it was never trained.
        where: Data set, protocol and split.
        facts: Name and value of what the records say of the runs.
        remarks: Missing files, differences between seeds, warnings, dropped rows.
        config: The configuration of the first seed as YAML.
        config_seed: That seed.
    """

    name: str
    where: str
    facts: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    config: str
    config_seed: int


def source(group: Group | RetrievalGroup) -> RunSource:
    """What the records of a configuration say of its runs."""
    import yaml  # the Markdown report needs none

    head = f"{group.label}, {group.key.experiment}: "
    lines = notes([group]) if isinstance(group, Group) else retrieval_notes([group])
    records: Sequence[RunRecord] = group.records
    return RunSource(
        name=group.name,
        where=group.label,
        facts=tuple(_facts(group, records)),
        remarks=tuple(line.removeprefix(head) for line in lines),
        config=yaml.safe_dump(dict(records[0].config), sort_keys=False, allow_unicode=True),
        config_seed=records[0].seed,
    )


def _facts(
    group: Group | RetrievalGroup, records: Sequence[RunRecord]
) -> Iterable[tuple[str, str]]:
    yield "seeds", ", ".join(str(record.seed) for record in records)
    yield "commit", compact([_commit(record) for record in records])
    yield "test runs", compact([record.test_runs for record in records])
    yield "hardware", machines(records)
    yield "time per seed", time_per_seed(records)
    yield "finished (UTC)", ", ".join(record.finished for record in records)
    yield "weights", compact([record.checkpoint or "no checkpoint" for record in records])
    names = dict.fromkeys(name for record in records for name in record.versions)
    versions = (f"{n} {compact([r.versions.get(n, 'unknown') for r in records])}" for n in names)
    yield "versions", ", ".join(versions)
    yield "run folders", ", ".join(str(run.path.parent) for run in group.runs)


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
