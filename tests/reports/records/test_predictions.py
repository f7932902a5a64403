from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.predictions import (
    PredictionLine,
    predictions_path,
    read_predictions,
    write_predictions,
)


def test_round_trip_keeps_order_and_odd_characters(
    tmp_path: Path, predictions: list[PredictionLine]
) -> None:
    odd = replace(
        predictions[0],
        question='tab\tline\u2028separator\x85 "µ"',
        log_likelihood=None,
        control_prediction=None,
        control_correct=None,
        floor_correct=None,
        question_id="z",
    )
    path = predictions_path(tmp_path, "test")
    write_predictions(path, [odd, *predictions])
    assert path.name == "predictions-test.jsonl"
    assert read_predictions(path) == (odd, *predictions)
    assert len(path.read_bytes().split(b"\n")) == len(predictions) + 2


def test_lines_that_are_older_than_the_path_of_the_image_are_read(
    tmp_path: Path, predictions: list[PredictionLine]
) -> None:
    path = predictions_path(tmp_path, "test")
    write_predictions(path, [replace(line, image_file="images/a.png") for line in predictions])
    new = path.read_text(encoding="utf-8")
    assert {line.image_file for line in read_predictions(path)} == {"images/a.png"}
    path.write_text(new.replace(', "image_file": "images/a.png"', ""), encoding="utf-8")
    assert read_predictions(path) == tuple(predictions)


def test_a_broken_line_is_named(tmp_path: Path, predictions: list[PredictionLine]) -> None:
    path = predictions_path(tmp_path, "test")
    write_predictions(path, predictions)
    lines = path.read_text().split("\n")
    lines[1] = lines[1].replace('"correct": ', '"correct": 1')
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"predictions-test\.jsonl, line 2"):
        read_predictions(path)


def test_a_repeated_question_is_refused(tmp_path: Path, predictions: list[PredictionLine]) -> None:
    path = predictions_path(tmp_path, "test")
    with pytest.raises(UserError, match=r"line 61: field 'question_id' 'VQARAD/test/0' occurs twi"):
        write_predictions(path, [*predictions, predictions[0]])
    assert not path.exists()


def test_a_truncated_file_is_refused(tmp_path: Path, predictions: list[PredictionLine]) -> None:
    path = predictions_path(tmp_path, "test")
    write_predictions(path, predictions)
    path.write_text(path.read_text()[:-1])
    with pytest.raises(UserError, match="ends in the middle of a line"):
        read_predictions(path)


def test_an_infinite_likelihood_is_refused(
    tmp_path: Path, predictions: list[PredictionLine]
) -> None:
    bad = replace(predictions[0], log_likelihood=float("-inf"))
    with pytest.raises(UserError, match="line 1 is not valid JSON"):
        write_predictions(tmp_path / "predictions-test.jsonl", [bad])
