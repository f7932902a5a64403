"""The notebook's cells run in order, in a folder that has the experiments only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.run import read_record, record_path
from tests.processes import PROJECT

NOTEBOOK = PROJECT / "docs" / "quickstart.ipynb"


def cells() -> list[str]:
    """The code of each cell; the last expression of a cell is not shown."""
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def test_the_notebook_stays_short() -> None:
    assert len(cells()) <= 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_notebook_runs(tmp_path: Path) -> None:
    (tmp_path / "experiments").symlink_to(PROJECT / "experiments")
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(cells()), encoding="utf-8")
    subprocess.run([sys.executable, script.name], cwd=tmp_path, check=True)
    folder = tmp_path / "runs/quickstart/vqa-phantom/clean/seed0"
    record = read_record(record_path(folder, "test"), ResultRecord)
    assert record.scores["overall"].count > 500
    assert (tmp_path / "runs/quickstart/pretrain-phantom/clean/seed0/best.ckpt").is_file()
