"""What was read of the vocabulary, in lines and in records."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.records.answering import read_record
from amif_lightning.reports.records.knowledge import knowledge_averages
from amif_lightning.reports.records.predictions import (
    PredictionLine,
    averages_by_stratum,
    predictions_path,
    read_predictions,
    write_predictions,
)
from tests.reports.readings import with_readings

Writer = Callable[..., Path]


def test_lines_come_back_as_they_were(tmp_path: Path, predictions: list[PredictionLine]) -> None:
    lines = with_readings(predictions)
    path = predictions_path(tmp_path, "test")
    write_predictions(path, lines)
    assert read_predictions(path) == tuple(lines)


def test_lines_of_earlier_versions_have_none(
    tmp_path: Path, predictions: list[PredictionLine]
) -> None:
    path = predictions_path(tmp_path, "test")
    write_predictions(path, predictions)
    path.write_text(path.read_text().replace(', "knowledge": null', ""))
    assert "knowledge" not in path.read_text()
    assert read_predictions(path) == tuple(predictions)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mass", 1.5, r"'knowledge.mass' must be a number from 0 to 1, found 1.5"),
        ("mass", None, r"'knowledge.mass' must be null where 'even' and 'top' are"),
        ("top", 1, r"'knowledge.top' must be true, false or null"),
        ("effective", 0.5, r"'knowledge.effective' must be a number from 1 to inf"),
        ("gate", "open", r"'knowledge.gate' must be a number or null"),
        ("read", "yes", r"'knowledge.read' must be a list of entries"),
        ("read", [["yes"]], r"'knowledge.read.0' must be an entry and its attention"),
        ("read", [["yes", 2.0]], r"'knowledge.attention' must be a number from 0 to 1"),
        ("more", 1, r"'knowledge.more' is not part of this schema version"),
    ],
)
def test_a_broken_reading_is_one_sentence(
    tmp_path: Path, predictions: list[PredictionLine], name: str, value: Any, message: str
) -> None:
    path = predictions_path(tmp_path, "test")
    write_predictions(path, with_readings(predictions))
    first, second, *rest = path.read_text().splitlines()
    broken = json.loads(second)
    broken["knowledge"][name] = value
    path.write_text("\n".join([first, json.dumps(broken), *rest]) + "\n")
    with pytest.raises(UserError, match=rf"line 2: field {message}"):
        read_predictions(path)


def test_readings_on_some_lines_only_are_refused(
    tmp_path: Path, predictions: list[PredictionLine]
) -> None:
    lines = with_readings(predictions)
    lines[3] = replace(lines[3], knowledge=None)
    with pytest.raises(UserError, match="line 4: field 'knowledge' is null on some lines only"):
        write_predictions(predictions_path(tmp_path, "test"), lines)


def test_means_are_those_of_the_questions(predictions: list[PredictionLine]) -> None:
    lines = with_readings(predictions)
    found = averages_by_stratum(lines)
    assert found is not None
    assert set(found) == {name for line in lines for name in line.strata}
    for stratum, means in found.items():
        own = [line.knowledge for line in lines if stratum in line.strata]
        masses = [one.mass for one in own if one is not None and one.mass is not None]
        assert means.questions == len(own)
        assert means.known == len(masses) < len(own)
        assert means.mass == pytest.approx(statistics.fmean(masses))
        assert means.top == pytest.approx(sum(mass > 0.5 for mass in masses) / len(masses))
        gates = [one.gate for one in own if one is not None]
        assert means.gate == pytest.approx(statistics.fmean(gates))


def test_of_nothing_there_are_no_means(predictions: list[PredictionLine]) -> None:
    assert averages_by_stratum(predictions) is None
    unknown = with_readings(predictions)[0].knowledge
    assert unknown is not None
    means = knowledge_averages([unknown])
    assert (means.known, means.mass, means.even, means.top) == (0, None, None, None)


def test_a_record_keeps_the_means(write_run: Writer, tmp_path: Path) -> None:
    path = write_run(0, read=True)
    lines = read_predictions(predictions_path(path.parent, "test"))
    assert read_record(path).knowledge == averages_by_stratum(lines)
    for name, value, message in (
        ("questions", 1, "must be about the questions of 'scores'"),
        ("known", 10**6, "is more than the 300 questions"),
        ("mass", None, "must be null where no answer has an entry"),
    ):
        data = json.loads(path.read_text())
        data["knowledge"]["overall"][name] = value
        if name == "questions":
            data["knowledge"]["overall"]["known"] = 1
        broken = tmp_path / "result-test.json"
        broken.write_text(json.dumps(data))
        with pytest.raises(UserError, match=message):
            read_record(broken)


def test_a_record_that_its_lines_contradict_is_refused(write_run: Writer, tmp_path: Path) -> None:
    path = write_run(0, read=True)
    collect(tmp_path)
    data = json.loads(path.read_text())
    data["knowledge"]["overall"]["mass"] += 0.01
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="'knowledge' gives other means of 'overall'"):
        collect(tmp_path)
