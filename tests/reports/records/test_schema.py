"""Record files: what every model refuses, and files of lines of either kind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.evaluation import Count
from amif_lightning.reports.records.answering import PredictionLine
from amif_lightning.reports.records.retrieval import StudyLine
from amif_lightning.reports.records.schema import (
    Cosine,
    Model,
    Name,
    Number,
    Real,
    Share,
    first_difference,
    parse,
    read_lines,
    write_lines,
)
from tests.reports.conftest import (
    change_lines,
    changed,
    set_field,
    synthetic_predictions,
    synthetic_studies,
    with_pairs,
    with_readings,
)


class Sample(Model):
    name: Name = "x"
    flag: bool = True
    number: Number = 0
    value: float = 0.0
    real: Real = 0.0
    share: Share = 0.0
    cosine: Cosine = 0.0
    texts: tuple[str, ...] = ()
    count: Count = Count(0, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("flag", 1),
        ("number", True),
        ("number", -1),
        ("number", 10**400),
        ("real", 1e308),
        ("real", -1e308),
        ("number", "1"),
        ("value", float("nan")),
        ("value", float("inf")),
        ("share", 1.1),
        ("cosine", -2),
        ("texts", ["a", 1]),
        ("count", {"correct": 3, "count": 2}),
        ("count", {"correct": True, "count": 2}),
        ("count", {"correct": -(10**400), "count": 2}),
        ("count", {"correct": 0, "count": 10**400}),
        ("count", {"correct": 1, "count": 2, "percent": 50}),
        ("colour", "red"),
    ],
)
def test_wrong_types_and_unknown_fields_name_file_and_field(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^file\.json: field '{field}.* folder\.$") as caught:
        parse(Sample, json.dumps({field: value}), "file.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the content is not valid JSON"),
        ("[]", "the content: must be an object, found"),
        ("[" * 100_000, "the content is not valid JSON"),
        ('{"texts": ' + "[" * 100_000 + "]" * 100_000 + "}", "the content is not valid JSON"),
        ('{"value": NaN}', "field 'value'"),
        (f'{{"number": {"9" * 5000}}}', ""),
        ('{"name": "\\ud800"}', "the content is not valid JSON"),
    ],
)
def test_text_without_an_object_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"file: {message}") as caught:
        parse(Sample, text, "file")
    assert len(str(caught.value)) < 300


def test_the_first_difference_is_named() -> None:
    one = {"a": {"b": 1.0, "c": None}, "d": "x"}
    assert first_difference(one, {"a": {"b": 1.0 + 1e-12, "c": None}, "d": "x"}) is None
    assert first_difference(one, {"a": {"b": 1.0 + 1e-6, "c": None}, "d": "x"}) == "a.b"
    assert first_difference(one, {"a": {"b": 1.0, "c": 0}, "d": "x"}) == "a.c"
    assert first_difference(one, {"a": {"b": 1.0, "c": None}}) == "d"
    assert first_difference(Count(1, 2), Count(1, 3), "n") == "n"


# ---- lines ------------------------------------------------------------------------------------

ANSWERS = synthetic_predictions(0, 0.6, 0.4, 0.4, 12, 5)
STUDIES = synthetic_studies(0, 1.5, 12)
FILES: dict[str, list[Any]] = {
    "answers": list(ANSWERS),
    "vocabulary": with_readings(ANSWERS),
    "studies": list(STUDIES),
    "pairs": with_pairs(STUDIES, 0),
    "unmatched pairs": with_pairs(STUDIES, 0, matches=False),
}


@pytest.mark.parametrize("name", FILES)
def test_lines_are_read_as_written(tmp_path: Path, name: str) -> None:
    lines = FILES[name]
    odd = changed(lines[0], **{lines[0].ID: 'tab\tline\u2028separator\x85 "µ"'})
    path = tmp_path / "file.jsonl"
    write_lines(path, [*lines, odd])
    assert read_lines(path, type(odd)) == (*lines, odd)
    assert len(path.read_bytes().split(b"\n")) == len(lines) + 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("answers", "line 61: field 'question_id' 'VQARAD/test/0' occurs twice"),
        ("studies", "line 13: field 'study_id' 'study0' occurs twice"),
    ],
)
def test_a_repeated_id_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_lines(tmp_path / "file.jsonl", [*FILES[name], FILES[name][0]])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("answers", "control_correct"),
        ("answers", "baseline_correct"),
        ("vocabulary", "knowledge"),
        ("studies", "zero_shot"),
        ("pairs", "pairs"),
    ],
)
def test_partly_filled_columns_are_refused(tmp_path: Path, name: str, field: str) -> None:
    lines = FILES[name]
    odd = [*lines[:3], changed(lines[3], **{field: None}), *lines[4:]]
    with pytest.raises(UserError, match=f"line 4: field '{field}' is null on some lines only"):
        write_lines(tmp_path / "file.jsonl", odd)


@pytest.mark.parametrize(
    ("cut", "message"), [(0, "has no line"), (50, "middle of a line"), (-1, "middle of a line")]
)
def test_a_file_that_ends_early(tmp_path: Path, cut: int, message: str) -> None:
    path = tmp_path / "studies-test.jsonl"
    write_lines(path, STUDIES)
    path.write_text(path.read_text()[:cut])
    with pytest.raises(UserError, match=message):
        read_lines(path, StudyLine)


OTHER_KS = {"precision": {"5": 0}, "recall": {"5": 0}}


@pytest.mark.parametrize(
    ("lines", "name", "value", "message"),
    [
        ("answers", "correct", 1, "'correct': must be a valid boolean, found 1"),
        ("answers", "log_likelihood", float("-inf"), "'log_likelihood': must be a finite number"),
        ("answers", "question", ..., "'question' is missing"),
        ("vocabulary", "knowledge.mass", 1.5, "'knowledge.mass': must be less than or equal to 1"),
        ("vocabulary", "knowledge.effective", 0.5, "'knowledge.effective': must be greater than"),
        ("vocabulary", "knowledge.read", [["yes"]], "'knowledge.read.0.1' is missing"),
        ("studies", "relevant", 0, "'relevant': must be greater than or equal to 1"),
        ("studies", "relevant", 13, "'relevant' is 13, but the file holds 12 studies"),
        ("studies", "image_to_text.precision.5", 1.2, "'image_to_text.precision.5': must be less"),
        ("studies", "image_to_text.precision.5", 0.3, "recall at 5 are impossible: 0.3 and 1.0"),
        ("studies", "image_to_text.precision.5", 0.8, "0.8 and 1.0 with 1 relevant among 12"),
        ("studies", "image_to_text.recall.10", 0.5, "'image_to_text.recall' .* not fall with k"),
        ("studies", "text_to_image.recall", {"1": 0.5, "5": 1, "10": 1}, "recall at 1 are imposs"),
        ("studies", "image_to_text.recall.1", ..., "'image_to_text.recall' must have the numbers"),
        ("studies", "image_to_text.precision", {"1": 0}, "rising whole numbers as names, 5 among"),
        ("studies", "image_to_text.precision", {"5": 0, "1": 0}, "must have rising whole numbers"),
        ("studies", "image_to_text", OTHER_KS, "has other numbers k than the first line"),
        ("pairs", "pairs.matching.own", None, "'pairs.matching.own': must be a valid number"),
        ("pairs", "pairs.cosine", -2, "'pairs.cosine': must be greater than or equal to -1"),
        ("pairs", "pairs.localised.0.area", 0.0, "'pairs.localised.0.area': must be greater than"),
    ],
)
def test_a_broken_line_is_named_with_its_field(
    tmp_path: Path, lines: str, name: str, value: Any, message: str
) -> None:
    path = tmp_path / "file.jsonl"
    write_lines(path, FILES[lines])
    change_lines(path, lambda rows: set_field(rows[2], name, value))
    model = PredictionLine if lines in ("answers", "vocabulary") else StudyLine
    with pytest.raises(UserError, match=message) as caught:
        read_lines(path, model)
    assert re.match(rf"{path}, line 3: field '", str(caught.value))
    assert "\n" not in str(caught.value)
