"""Records of answers, and what their lines come to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from amif_lightning.errors import UserError
from amif_lightning.evaluation import Count
from amif_lightning.reports.records.answering import (
    PredictionLine,
    ResultRecord,
    counted,
    knowledge_averages,
)
from amif_lightning.reports.records.run import plain, read_record, record_path, write_record
from tests.reports.conftest import changed, record_for, tally, with_readings


@pytest.fixture
def written(tmp_path: Path, record: ResultRecord) -> Path:
    path = record_path(tmp_path, "test")
    write_record(path, record)
    return path


def test_round_trip(written: Path, record: ResultRecord) -> None:
    assert written.name == "result-test.json"
    assert read_record(written, ResultRecord) == record
    data = json.loads(written.read_text())
    assert data["schema_version"] == 1
    assert "kind" not in data  # as in the files from before there was another kind
    # What a person looks for stands above the configuration.
    assert list(data).index("scores") < list(data).index("config")


def test_round_trip_of_what_may_be_null(tmp_path: Path, record: ResultRecord) -> None:
    bare = changed(
        record,
        control=None,
        ceiling=None,
        candidates=None,
        method="generate",
        git_commit=None,
        git_dirty=None,
        checkpoint=None,
        hardware=changed(record.hardware, memory_gib=None, gpu="H200"),
        durations=changed(record.durations, train=None),
    )
    path = record_path(tmp_path, "test")
    write_record(path, bare)
    assert read_record(path, ResultRecord) == bare


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("experiment", 3, "'experiment': must be a valid string, found 3"),
        ("dataset", " ", "'dataset': must not be empty"),
        ("protocol", "lax", "'protocol': must be 'clean' or 'literature', found 'lax'"),
        ("test_runs", 0, "'test_runs': must be greater than or equal to 1"),
        ("scores.overall", ..., "'scores' must hold the subset 'overall'"),
        ("scores.overall.correct", 301, "'scores.overall': must have 0 <= correct <= count"),
        ("control.overall.count", 301, "'control.overall.count' is 301, but 'scores' has 300"),
        ("ceiling.type/organ", ..., "'ceiling' must have the subsets of 'scores', but 'type/organ"),
        ("ceiling.overall.correct", 0, r"'scores.overall.correct' is \d+, above the ceiling 0"),
        ("baselines.question_only", ..., "'baselines.question_only' is missing"),
        ("baselines.luck", {}, "'baselines.luck' is not part of this schema version"),
        ("durations.train", -1, "'durations.train': must be greater than or equal to 0"),
        ("finished", "2026-01-02T03:04:05", "'finished': must be an ISO time in UTC"),
        ("finished", "2026-01-02T03:04:05+02:00", "'finished': must be an ISO time in UTC"),
        ("finished", "yesterday", "'finished': must be an ISO time in UTC"),
        ("split", "validation", "'split' is 'validation', which is not the split in the file's"),
        ("knowledge.overall.questions", 299, "'knowledge.overall' must be about the questions"),
        ("knowledge.overall.known", 301, "'knowledge.overall.known' is more than the 300 quest"),
        ("knowledge.overall.mass", None, "'knowledge.overall.mass' must be null where no answer"),
    ],
)
def test_a_broken_field_is_named_with_its_file(
    write_run: Callable[..., Path], edit: Callable[..., None], name: str, value: Any, message: str
) -> None:
    written = write_run(0, read=True)
    edit(written, name, value)
    with pytest.raises(UserError, match=message) as caught:
        read_record(written, ResultRecord)
    assert str(written) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_that_breaks_a_rule_cannot_be_made(record: ResultRecord) -> None:
    with pytest.raises(ValidationError, match="above the ceiling"):
        changed(record, scores={**record.scores, "overall": Count(300, 300)})


def test_free_answers_may_exceed_the_ceiling_of_a_list(
    written: Path, edit: Callable[..., None]
) -> None:
    edit(written, "ceiling.overall.correct", 0)
    edit(written, "method", "generate")
    assert read_record(written, ResultRecord).method == "generate"


def test_configuration_of_any_type_is_written(tmp_path: Path, record: ResultRecord) -> None:
    config: dict[Any, Any] = {
        "path": Path("a/b"),
        "betas": (0.9, 0.98),
        3: {"b", "a"},
        "most": float("inf"),
    }
    assert plain(config) == {"path": "a/b", "betas": [0.9, 0.98], "3": ["a", "b"], "most": "inf"}
    path = record_path(tmp_path, "test")
    write_record(path, changed(record, config=config))
    assert read_record(path, ResultRecord).config == plain(config)


def test_lines_come_to_the_scores_of_a_plain_count(predictions: list[PredictionLine]) -> None:
    found = counted(predictions)
    record = record_for(predictions, 0)
    assert found["scores"] == record.scores == tally(predictions, lambda line: line.correct)
    assert found["control"] == record.control
    assert found["baselines.question_only"] == record.baselines.question_only
    bare = [changed(p, control_correct=None, baseline_correct=None) for p in predictions]
    assert counted(bare) == {
        "scores": record.scores,
        "control": None,
        "baselines.question_only": None,
        "knowledge": None,
    }


def test_means_of_readings_are_those_of_the_questions(predictions: list[PredictionLine]) -> None:
    lines = with_readings(predictions)
    found = knowledge_averages(lines)
    assert found is not None
    assert set(found) == {name for line in lines for name in line.strata}
    for subset, means in found.items():
        own = [line.knowledge for line in lines if subset in line.strata]
        masses = [one.mass for one in own if one is not None and one.mass is not None]
        assert means.questions == len(own)
        assert means.known == len(masses) < len(own)
        assert means.mass == pytest.approx(statistics.fmean(masses))
        assert means.top == pytest.approx(sum(mass > 0.5 for mass in masses) / len(masses))
        gates = [one.gate for one in own if one is not None]
        assert means.gate == pytest.approx(statistics.fmean(gates))
    unknown = knowledge_averages(lines[:1])
    assert unknown is not None
    nothing = unknown["overall"]
    assert (nothing.known, nothing.mass, nothing.even, nothing.top) == (0, None, None, None)
