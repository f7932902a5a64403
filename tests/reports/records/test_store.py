"""Both kinds of records in a folder, and the files of earlier versions."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import PredictionLine, ResultRecord, predictions_path
from amif_lightning.reports.records.retrieval import RetrievalRecord, StudyLine, studies_path
from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.schema import read_lines
from amif_lightning.reports.records.store import find_records, read_any
from amif_lightning.reports.records.test_counter import count_test_run

Writer = Callable[..., Path]
ARCHIVES = Path(__file__).parents[3] / "docs" / "results" / "records"


def test_both_kinds_are_told_apart(write_run: Writer, write_search: Writer, tmp_path: Path) -> None:
    answers, search = write_run(0), write_search(0)
    assert isinstance(read_any(answers), ResultRecord)
    assert isinstance(read_any(search), RetrievalRecord)
    assert [path for path, _ in find_records(tmp_path)] == [answers, search]


def test_what_this_program_does_not_read_is_named(
    write_run: Writer, edit: Callable[..., None]
) -> None:
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


def test_a_search_without_a_count_of_tests_continues_its_records(write_search: Writer) -> None:
    path = write_search(0, test_runs=4)
    assert count_test_run(path.parent, "test") == 5


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
        new_fields = {"knowledge", "pairs", "kind"} - set(old)
        assert {k: v for k, v in new.items() if k not in new_fields} == old
        predictions = predictions_path(path.parent, record.split)
        if predictions.exists():
            lines = read_lines(predictions, PredictionLine)
            rows = [json.loads(row) for row in predictions.read_text().splitlines()]
            assert [x.baseline_correct for x in lines] == [x["floor_correct"] for x in rows]
        if studies_path(path.parent, record.split).exists():
            read_lines(studies_path(path.parent, record.split), StudyLine)


def test_fields_that_older_files_lack_are_none(
    write_run: Writer, write_search: Writer, edit: Callable[..., None]
) -> None:
    path = write_run(0)
    for name in ("knowledge", "durations.before"):
        edit(path, name, ...)
    record = read_any(path)
    assert isinstance(record, ResultRecord)
    assert (record.knowledge, record.durations.before) == (None, None)
    file = predictions_path(path.parent, "test")
    rows = [json.loads(row) for row in file.read_text().splitlines()]
    for row in rows:
        del row["knowledge"], row["image_file"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = read_lines(file, PredictionLine)
    assert {(line.image_file, line.knowledge) for line in lines} == {(None, None)}
    path = write_search(0, pairs={})
    edit(path, "pairs", ...)
    search = read_any(path)
    assert isinstance(search, RetrievalRecord)
    assert search.pairs is None
    file = studies_path(path.parent, "test")
    rows = [json.loads(row) for row in file.read_text().splitlines()]
    for row in rows:
        del row["pairs"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {line.pairs for line in read_lines(file, StudyLine)} == {None}
