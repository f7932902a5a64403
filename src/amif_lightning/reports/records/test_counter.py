"""How often the test set was looked at: one small count per split beside the records.

The count is a file of its own so that nothing takes it back: not ``--overwrite``, not a test that
ends before its record is written, not one that leaves questions out.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.errors import UserError
from amif_lightning.reports.records.run import record_path
from amif_lightning.reports.records.schema import Model, Number, parse
from amif_lightning.reports.records.store import read_any


class _TestRuns(Model):
    test_runs: Number


def count_path(folder: str | PathLike[str], split: str) -> Path:
    """``test-runs-<split>.json`` inside a run folder."""
    return Path(folder) / f"test-runs-{split}.json"


def count_test_run(folder: str | PathLike[str], split: str) -> int:
    """Count a test that starts now.

    Args:
        folder: The run folder.
        split: The split that is scored.

    Returns:
        How often the split was scored in this folder, the test that starts included.

    Raises:
        UserError: If the count, or a record of a folder without one, cannot be read or written, for
            the count would be lost.
    """
    path, record = count_path(folder, split), record_path(folder, split)
    if path.exists():
        try:
            before = parse(_TestRuns, read_text(path), path).test_runs
        except UserError as error:
            raise UserError(
                f'{path} holds no count of tests: write {{"test_runs": N}} into it, where N is the '
                "number of tests so far."
            ) from error
    else:
        before = read_any(record).test_runs if record.exists() else 0
    write_atomically(path, json.dumps({"test_runs": before + 1}) + "\n")
    return before + 1
