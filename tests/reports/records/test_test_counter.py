from __future__ import annotations

import json
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.test_counter import count_path, count_test_run


def test_every_start_counts_and_splits_count_apart(tmp_path: Path) -> None:
    assert [count_test_run(tmp_path, "test") for _ in range(3)] == [1, 2, 3]
    assert count_test_run(tmp_path, "validation") == 1
    assert json.loads((tmp_path / "test-runs-test.json").read_text()) == {"test_runs": 3}


def test_a_record_without_a_count_is_continued(tmp_path: Path, record: ResultRecord) -> None:
    write_record(record_path(tmp_path, "test"), record)
    assert record.test_runs == 1
    assert [count_test_run(tmp_path, "test") for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("text", ["{", "{}", '{"test_runs": -1}', '{"test_runs": 1, "more": 2}'])
def test_a_broken_count_does_not_start_again_at_one(tmp_path: Path, text: str) -> None:
    path = count_path(tmp_path, "test")
    path.write_text(text)
    with pytest.raises(UserError, match=r"test-runs-test\.json holds no count of tests"):
        count_test_run(tmp_path, "test")
    assert path.read_text() == text
