"""Write the record of a test of either stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.schema import Line, write_lines
from amif_lightning.reports.records.store import ScoredRecord


def write_result(
    record: ScoredRecord,
    folder: Path,
    lines: Sequence[Line],
    means: Mapping[str, float],
    logged: Mapping[str, Tensor],
    label: str,
    scores: str,
) -> str:
    """Write the lines and then the record into a folder; return one line with the scores.

    Raises:
        RuntimeError: If a ``logged`` score differs from the ``means`` of the lines, which is a bug.
        UserError: If a file cannot be written.
    """
    for name, mean in means.items():
        if name in logged and abs(float(logged[name]) - mean) > 1e-5:
            raise RuntimeError(
                f"{name} was logged as {float(logged[name]):.6f}, but the lines give {mean:.6f}: "
                "no record is written"
            )
    write_lines(folder / record.FILE.format(record.split), lines)
    write_record(record_path(folder, record.split), record)
    untrained = "UNTRAINED WEIGHTS, " if record.untrained else ""
    return (
        f"{record.dataset} {record.split} [{label}], {untrained}test run {record.test_runs}: "
        f"{scores}; records in {folder}"
    )


def incomplete(missing: int, count: int, what: str) -> str:
    """Return the message for a test of a part of the split, which writes no record."""
    return (
        f"No record written: {missing} of {count} test {what}; limit_test_batches or fast_dev_run "
        "is set."
    )
