"""Both kinds of records in a folder, files of earlier versions, and the count of tests."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import PredictionLine, ResultRecord
from amif_lightning.reports.records.retrieval import RetrievalRecord, StudyLine
from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.schema import read_lines
from amif_lightning.reports.records.store import count_test_run, find_records, read_any
from tests.reports.conftest import Writer, change_lines, edit

ARCHIVES = Path(__file__).parents[3] / "docs" / "results" / "records"


def test_both_kinds_are_found(write_run: Writer, write_search: Writer, tmp_path: Path) -> None:
    answers, search = write_run(0), write_search(0)
    assert isinstance(read_any(answers), ResultRecord)
    assert isinstance(read_any(search), RetrievalRecord)
    assert [path for path, _ in find_records(tmp_path)] == [answers, search]


def test_an_unknown_kind_or_version_is_named(write_run: Writer) -> None:
    path = write_run(0)
    edit(path, "kind", "answering")
    assert isinstance(read_any(path), ResultRecord)
    edit(path, "kind", "drawing")
    with pytest.raises(UserError, match="'kind': must be 'answering' or 'retrieval', found 'dra"):
        read_any(path)
    edit(path, "schema_version", 2)
    edit(path, "kind", "retrieval")
    with pytest.raises(UserError, match="'schema_version' is 2 but this program reads 1"):
        read_any(path)


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none is not a folder"):
        find_records(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no result-\*\.json"):
        find_records(tmp_path)


# ---- earlier versions -------------------------------------------------------------------------


@pytest.mark.parametrize("archive", sorted(ARCHIVES.glob("*.tar.xz")), ids=lambda path: path.stem)
def test_the_records_of_the_documents_are_read(archive: Path, tmp_path: Path) -> None:
    """They hold `floors` and `floor_correct`, and are written again under the new names."""
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    found = find_records(tmp_path)
    assert found
    for path, record in found:
        old = json.loads(path.read_text())
        file = record_path(tmp_path / "new", record.split)
        write_record(file, record)
        new = json.loads(file.read_text())
        if "floors" in old:
            old["baselines"] = old.pop("floors")
        old["durations"].setdefault("blank", None)
        new_fields = {"knowledge", "pairs", "kind", "blank", "overlap", "calibration_error"}
        new_fields -= set(old)
        assert {k: v for k, v in new.items() if k not in new_fields} == old
        predictions = path.parent / f"predictions-{record.split}.jsonl"
        if predictions.exists():
            lines = read_lines(predictions, PredictionLine)
            rows = [json.loads(row) for row in predictions.read_text().splitlines()]
            assert [x.baseline_correct for x in lines] == [x["floor_correct"] for x in rows]
        if (path.parent / f"studies-{record.split}.jsonl").exists():
            read_lines(path.parent / f"studies-{record.split}.jsonl", StudyLine)


def remove(rows: list[dict[str, Any]], *names: str) -> None:
    for row in rows:
        for name in names:
            del row[name]


def test_fields_that_older_files_lack_are_none(write_run: Writer, write_search: Writer) -> None:
    path = write_run(0)
    for name in ("knowledge", "durations.before"):
        edit(path, name, ...)
    record = read_any(path)
    assert isinstance(record, ResultRecord)
    assert (record.knowledge, record.durations.before) == (None, None)

    change_lines(path, lambda rows: remove(rows, "knowledge", "image_file"))
    lines = read_lines(path.parent / "predictions-test.jsonl", PredictionLine)
    assert {(line.image_file, line.knowledge) for line in lines} == {(None, None)}
    path = write_search(0, pairs={})
    edit(path, "pairs", ...)
    search = read_any(path)
    assert isinstance(search, RetrievalRecord)
    assert search.pairs is None
    change_lines(path, lambda rows: remove(rows, "pairs"))
    studies = read_lines(path.parent / "studies-test.jsonl", StudyLine)
    assert {line.pairs for line in studies} == {None}


# ---- the count of tests -----------------------------------------------------------------------


def test_every_start_counts_and_splits_count_apart(tmp_path: Path) -> None:
    assert [count_test_run(tmp_path, "test") for _ in range(3)] == [1, 2, 3]
    assert count_test_run(tmp_path, "validation") == 1
    assert json.loads((tmp_path / "test-runs-test.json").read_text()) == {"test_runs": 3}


def test_the_count_of_a_record_is_continued(write_run: Writer, write_search: Writer) -> None:
    answers, search = write_run(0), write_search(0, test_runs=4)
    assert [count_test_run(answers.parent, "test") for _ in range(2)] == [2, 3]
    assert count_test_run(search.parent, "test") == 5


@pytest.mark.parametrize("text", ["{", "{}", '{"test_runs": -1}', '{"test_runs": 1, "more": 2}'])
def test_a_broken_count_does_not_start_again_at_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "test-runs-test.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"test-runs-test\.json contains no count of tests"):
        count_test_run(tmp_path, "test")
    assert path.read_text() == text
