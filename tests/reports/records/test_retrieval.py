from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import read_record, record_path
from amif_lightning.reports.records.retrieval import (
    RetrievalRecord,
    check_lines,
    read_retrieval_record,
    write_retrieval_record,
)
from amif_lightning.reports.records.run import Hardware
from amif_lightning.reports.records.study_scores import read_studies, studies_path


@pytest.fixture
def written(write_search: Callable[..., Path]) -> Path:
    return write_search(0)


def test_round_trip(written: Path, tmp_path: Path) -> None:
    record = read_retrieval_record(written)
    assert record.kind == "retrieval"
    assert record.mean.ks == (1, 5, 10)
    path = record_path(tmp_path, "test")
    write_retrieval_record(path, record)
    assert path.read_text() == written.read_text()
    data = json.loads(path.read_text())
    assert list(data)[:2] == ["schema_version", "kind"]
    # What a person looks for stands above the configuration.
    assert list(data).index("mean") < list(data).index("config")


def test_round_trip_of_what_may_be_null(written: Path) -> None:
    bare = replace(
        read_retrieval_record(written),
        zero_shot=None,
        teacher_kl=None,
        git_commit=None,
        git_dirty=None,
        checkpoint=None,
        hardware=Hardware(cpu="Xeon", cores=2, memory_gib=None),
    )
    write_retrieval_record(written, bare)
    assert read_retrieval_record(written) == bare


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kind", "answering", "'kind' is 'answering', but a record of kind 'retrieval' is"),
        ("kind", ..., "'kind' is 'answering', but a record of kind 'retrieval' is expected"),
        ("kind", "guessing", "'kind' must be one of answering, retrieval"),
        ("schema_version", 2, "'schema_version' is 2 but this program reads 1"),
        ("studies", 0, "'studies' must be a whole number >= 1"),
        ("seed", "0", "'seed' must be a whole number"),
        ("layout", " ", "'layout' must not be empty"),
        ("mean.precision.5", 0.9, "'mean.precision' must be the mean of both directions"),
        ("mean.recall.10", 1.0, "'mean.recall' must be the mean of both directions"),
        ("mean.precision.1", -0.1, "'mean.precision.1' must be a number from 0 to 1"),
        ("text_to_image.recall.1", 1.0, "'text_to_image.recall' must not fall with k"),
        ("chance.recall.1", 0.0, "'chance.recall' must be min"),
        ("ceiling.5", 0.01, "'ceiling.5' is below a precision that was reached"),
        ("ceiling.1", ..., "'ceiling' must have the numbers k of 'mean'"),
        ("chance", {"precision": {"5": 0.1}, "recall": {"5": 0.1}}, "'chance' must have the num"),
        ("zero_shot.correct", 61, "'zero_shot.correct' is 61, more than the count 60"),
        ("zero_shot.count", 59, "'zero_shot.count' is 59, but 'studies' is 60"),
        ("zero_shot", ..., "'zero_shot' is missing"),
        ("teacher_kl", -0.1, "'teacher_kl' must not be negative"),
        ("teacher_kl", "low", "'teacher_kl' must be a number or null"),
        ("hardware.cores", 0, "'hardware.cores' must be a whole number >= 1"),
        ("finished", "yesterday", "'finished' must be an ISO time in UTC"),
        ("split", "validation", "'split' is 'validation', which is not the split in the file's"),
        ("protocol", "clean", "'protocol' is not part of this schema version"),
    ],
)
def test_a_broken_field_is_named_with_its_file(
    written: Path, edit: Callable[..., None], name: str, value: Any, message: str
) -> None:
    edit(written, name, value)
    with pytest.raises(UserError, match=message) as caught:
        read_retrieval_record(written)
    assert str(written) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_record_is_refused_before_it_replaces_a_good_one(written: Path) -> None:
    before = written.read_text()
    bad = replace(read_retrieval_record(written), teacher_kl=float("nan"))
    with pytest.raises(UserError, match="not valid JSON"):
        write_retrieval_record(written, bad)
    assert written.read_text() == before


def test_the_reader_of_answers_refuses_a_search(written: Path) -> None:
    with pytest.raises(UserError, match="'kind' is 'retrieval', but a record of kind 'answering'"):
        read_record(written)


@pytest.mark.parametrize(
    ("changes", "odd"),
    [
        ({"studies": 61}, "60 studies"),
        ({"zero_shot": None}, "'zero_shot'"),
        ({"ceiling": {1: 1.0, 5: 1.0, 10: 1.0}}, "'ceiling'"),
    ],
)
def test_lines_must_come_to_the_records_numbers(
    written: Path, changes: dict[str, Any], odd: str
) -> None:
    file = studies_path(written.parent, "test")
    record, lines = read_retrieval_record(written), read_studies(file)
    check_lines(record, lines, file)
    with pytest.raises(UserError, match=f"another value of {odd} than result-test.json"):
        check_lines(replace(record, **changes), lines, file)


@pytest.mark.parametrize("part", ["image_to_text", "text_to_image", "mean", "chance"])
@pytest.mark.parametrize("measure", ["precision", "recall"])
def test_every_mean_is_compared_with_the_lines(written: Path, part: str, measure: str) -> None:
    file = studies_path(written.parent, "test")
    record: RetrievalRecord = read_retrieval_record(written)
    ranking = getattr(record, part)
    shares = {k: share + 1e-6 * (k == 5) for k, share in getattr(ranking, measure).items()}
    odd = replace(record, **{part: replace(ranking, **{measure: shares})})
    with pytest.raises(UserError, match=f"another value of '{part}.{measure}'"):
        check_lines(odd, read_studies(file), file)
