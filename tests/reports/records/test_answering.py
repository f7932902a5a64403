from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import (
    SCHEMA_VERSION,
    ResultRecord,
    Score,
    plain,
    read_record,
    record_path,
    write_record,
)


@pytest.fixture
def written(tmp_path: Path, record: ResultRecord) -> Path:
    path = record_path(tmp_path, "test")
    write_record(path, record)
    return path


def test_round_trip(written: Path, record: ResultRecord) -> None:
    assert written.name == "result-test.json"
    assert read_record(written) == record
    assert json.loads(written.read_text())["schema_version"] == SCHEMA_VERSION


def test_round_trip_of_what_may_be_null(tmp_path: Path, record: ResultRecord) -> None:
    bare = replace(
        record,
        control=None,
        ceiling=None,
        candidates=None,
        method="generate",
        git_commit=None,
        git_dirty=None,
        checkpoint=None,
        hardware=replace(record.hardware, memory_gib=None, gpu="H200"),
        durations=replace(record.durations, train=None),
    )
    path = record_path(tmp_path, "test")
    write_record(path, bare)
    assert read_record(path) == bare


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("experiment", 3, "'experiment' must be text"),
        ("dataset", " ", "'dataset' must not be empty"),
        ("protocol", "lax", "'protocol' must be one of clean, literature"),
        ("method", "guess", "'method' must be one of rank, generate"),
        ("seed", "0", "'seed' must be a whole number"),
        ("test_runs", 0, "'test_runs' must be a whole number >= 1"),
        ("scores.overall", ..., "'scores' must hold the stratum 'overall'"),
        ("scores.overall.correct", 301, "'scores.overall.correct' is 301, more than the count"),
        ("scores.overall.percent", 55.0, "'scores.overall.percent' is not part of this schema"),
        ("control.overall.count", 301, "'control.overall.count' is 301, but 'scores' has 300"),
        ("ceiling.type/organ", ..., "'ceiling' must have the strata of 'scores', but 'type/organ'"),
        ("ceiling.overall.correct", 0, r"'scores.overall.correct' is \d+, above the ceiling 0"),
        ("floors.question_only", ..., "'floors.question_only' is missing"),
        ("floors.luck", {}, "'floors.luck' is not part of this schema version"),
        ("candidates", 0, "'candidates' must be a whole number >= 1 or null"),
        ("warnings", "none", "'warnings' must be a list of texts"),
        ("versions.torch", 2, "'versions.torch' must be text"),
        ("hardware.cores", 0, "'hardware.cores' must be a whole number >= 1"),
        ("durations.train", -1, "'durations.train' must not be negative"),
        ("finished", "2026-01-02T03:04:05", "'finished' must be an ISO time in UTC"),
        ("finished", "2026-01-02T03:04:05+02:00", "'finished' must be an ISO time in UTC"),
        ("finished", "yesterday", "'finished' must be an ISO time in UTC"),
        ("untrained", None, "'untrained' must be true or false"),
        ("untrained", ..., "'untrained' is missing"),
        ("colour", "red", "'colour' is not part of this schema version"),
        ("schema_version", 2, "'schema_version' is 2 but this program reads 1"),
        ("split", "validation", "'split' is 'validation', which is not the split in the file's"),
    ],
)
def test_a_broken_field_is_named_with_its_file(
    written: Path, edit: Callable[..., None], name: str, value: Any, message: str
) -> None:
    edit(written, name, value)
    with pytest.raises(UserError, match=message) as caught:
        read_record(written)
    assert str(written) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_record_is_refused_before_it_replaces_a_good_one(
    written: Path, record: ResultRecord
) -> None:
    bad = replace(record, scores={**record.scores, "overall": Score(2, 1)})
    with pytest.raises(UserError, match="more than the count"):
        write_record(written, bad)
    assert read_record(written) == record


def test_free_answers_may_exceed_the_ceiling_of_a_list(
    written: Path, edit: Callable[..., None]
) -> None:
    edit(written, "ceiling.overall.correct", 0)
    edit(written, "method", "generate")
    assert read_record(written).method == "generate"


def test_configuration_of_any_type_is_written(tmp_path: Path, record: ResultRecord) -> None:
    config: dict[Any, Any] = {
        "path": Path("a/b"),
        "betas": (0.9, 0.98),
        3: {"b", "a"},
        "most": float("inf"),
    }
    assert plain(config) == {"path": "a/b", "betas": [0.9, 0.98], "3": ["a", "b"], "most": "inf"}
    path = record_path(tmp_path, "test")
    write_record(path, replace(record, config=config))
    assert read_record(path).config == plain(config)
