"""Records of answers, and the numbers computed from their lines."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from amif_lightning.errors import UserError
from amif_lightning.evaluation import Count
from amif_lightning.reports.records.answering import ResultRecord, counted, knowledge_averages
from amif_lightning.reports.records.run import plain, read_record, record_path, write_record
from tests.reports.conftest import (
    Writer,
    changed,
    edit,
    record_for,
    synthetic_predictions,
    with_readings,
)

LINES = synthetic_predictions(0, 0.6, 0.4, 0.4, 12, 5)


@pytest.fixture
def record() -> ResultRecord:
    return record_for(LINES, 0)


def test_round_trip(tmp_path: Path, record: ResultRecord) -> None:
    path = record_path(tmp_path, "test")
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
    for one in (bare, record):
        write_record(path, one)
        assert read_record(path, ResultRecord) == one
    data = json.loads(path.read_text())
    assert data["schema_version"] == 1
    assert "kind" not in data  # as in the files from before there was another kind
    # Scores come before the configuration.
    assert list(data).index("scores") < list(data).index("config")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dataset", "", "'dataset': must have at least 1 character"),
        ("protocol", "lax", "'protocol': must be 'clean', 'disjoint' or 'literature', found 'lax'"),
        ("test_runs", 0, "'test_runs': must be greater than or equal to 1"),
        ("scores.overall", ..., "'scores' must hold the subset 'overall'"),
        ("scores.overall.correct", 301, "'scores.overall': must have 0 <= correct <= count"),
        ("control.overall.count", 301, "'control' must have the questions of .* 'overall' differs"),
        ("ceiling.type/organ", ..., "'ceiling' must have the questions .* 'type/organ' differs"),
        ("ceiling.overall.correct", 0, r"'scores.overall.correct' is \d+, above the ceiling 0"),
        ("baselines.question_only", ..., "'baselines.question_only' is missing"),
        ("finished", "2026-01-02T03:04:05", "'finished': must be an ISO time in UTC"),
        ("finished", "2026-01-02T03:04:05+02:00", "'finished': must be an ISO time in UTC"),
        ("split", "validation", "'split' is 'validation', which is not the split in the file's"),
        ("knowledge.overall.questions", 299, "'knowledge' must have the questions of 'scores'"),
    ],
)
def test_a_broken_field_is_named_with_its_file(
    write_run: Writer, name: str, value: Any, message: str
) -> None:
    path = write_run(0, read=True)
    edit(path, name, value)
    with pytest.raises(UserError, match=message) as caught:
        read_record(path, ResultRecord)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_ranked_answers_are_bounded_by_the_ceiling(record: ResultRecord) -> None:
    scores = {**record.scores, "overall": Count(60, 60)}
    with pytest.raises(ValidationError, match="above the ceiling"):
        changed(record, scores=scores)
    assert changed(record, scores=scores, method="generate").scores == scores


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


def test_lines_give_the_scores_of_a_plain_count() -> None:
    right = {"scores": "correct", "control": "control_correct"}
    right["baselines.question_only"] = "baseline_correct"
    asked = Counter(subset for line in LINES for subset in line.strata)
    found = counted(LINES)
    for name, field in right.items():
        correct = Counter(s for line in LINES if getattr(line, field) for s in line.strata)
        assert found[name] == {subset: Count(correct[subset], asked[subset]) for subset in asked}
    bare = [changed(line, control_correct=None, baseline_correct=None) for line in LINES]
    missing = dict.fromkeys(("control", "blank", "baselines.question_only", "knowledge", "overlap"))
    assert counted(bare) == {"scores": found["scores"], **missing}


def test_averages_of_attention_are_those_of_the_questions() -> None:
    lines = with_readings(LINES)
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
