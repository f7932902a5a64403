"""Errors of composed answers: the words that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import PredictionLine
from amif_lightning.reports.records.schema import write_lines
from benchmarks.measures import composition_errors as measure


@pytest.mark.parametrize(
    ("answer", "prediction", "wrong"),
    [
        ("small left upper mass", "small left upper mass", set()),
        ("small left upper mass", "small right upper mass", {"side"}),
        ("small left upper mass", "large left lower nodule", {"size", "zone", "finding"}),
        ("left upper nodule", "two left nodules", {"zone", "number"}),
        ("cardiomegaly and left upper nodule", "left upper nodule", {"finding"}),
        ("small left upper mass", "left small upper mass", {"order"}),
        ("small bilateral effusion", "small left effusion", {"side"}),
        ("two bilateral nodules", "bilateral nodule", {"number"}),
    ],
)
def test_kinds_of_words_that_are_wrong(answer: str, prediction: str, wrong: set[str]) -> None:
    assert measure.wrong_kinds(answer, prediction) == wrong


def line(number: int, prediction: str, question_type: str) -> PredictionLine:
    answer = "small left upper mass"
    return PredictionLine(
        question_id=f"Phantom/test/{number}",
        qid="",
        image=f"image{number}",
        question="what?",
        answer=answer,
        references=(answer,),
        prediction=prediction,
        log_likelihood=None,
        correct=prediction == answer,
        answer_type="open",
        question_type=question_type,
        strata=("overall",),
    )


def write(runs: Path, experiment: str, seed: int, given: Sequence[tuple[str, str]]) -> None:
    folder = runs / experiment / "clean" / f"seed{seed}"
    folder.mkdir(parents=True)
    lines = [line(number, prediction, asked) for number, (prediction, asked) in enumerate(given)]
    write_lines(folder / "predictions-test.jsonl", lines)


def test_wrong_answers_of_all_seeds_are_counted_by_kind_of_question_and_of_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, mirrored, other = "small left upper mass", "small right upper mass", "large left nodule"
    write(tmp_path, "first", 0, [(mirrored, "composition"), (right, "composition")])
    write(tmp_path, "first", 1, [(other, "composition"), (mirrored, "composition_unseen")])
    write(tmp_path, "second", 0, [(right, "composition"), (mirrored, "presence")])
    measure.main([str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()[2:]
    rows = [[cell.strip() for cell in text.split("|")[1:-1]] for text in printed]
    assert rows == [
        ["first", "composition", "2", "1", "1", "1", "1", "1", "0", "0"],
        ["second", "composition", "0", "0", "0", "0", "0", "0", "0", "0"],
        ["first", "composition_unseen", "1", "1", "0", "1", "0", "0", "0", "0"],
        ["second", "composition_unseen", "0", "0", "0", "0", "0", "0", "0", "0"],
    ]


def test_a_folder_without_composed_questions_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "other", 0, [("yes", "presence")])
    with pytest.raises(UserError, match="run make compositions"):
        measure.main([str(tmp_path)])
