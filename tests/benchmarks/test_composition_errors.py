"""Errors of composed answers: the words that are wrong, and differences from a baseline."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.predictions import Prediction, write_predictions
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
    ],
)
def test_kinds_of_words_that_are_wrong(answer: str, prediction: str, wrong: set[str]) -> None:
    assert measure.wrong_parts(answer, prediction) == wrong


def line(number: int, prediction: str, question_type: str) -> Prediction:
    answer = "small left upper mass"
    return Prediction(
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


def write(runs: Path, experiment: str, seed: int, wrong: int, first: int = 0) -> None:
    folder = runs / experiment / "clean" / f"seed{seed}"
    folder.mkdir(parents=True)
    given = ["small right upper mass"] * wrong + ["small left upper mass"] * (40 - wrong)
    write_predictions(
        folder / "predictions-test.jsonl",
        [
            line(first + 40 * place + number, prediction, question_type)
            for place, question_type in enumerate(measure.TYPES)
            for number, prediction in enumerate(given)
        ],
    )


def test_tables_of_two_experiments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        write(tmp_path, "plain", seed, 20)
    write(tmp_path, "better", 0, 10)
    measure.main([str(tmp_path), "--baseline", "plain"])
    rows = [
        [cell.strip() for cell in text.split("|")[1:-1]]
        for text in capsys.readouterr().out.splitlines()
        if text.startswith("| better")
    ]
    assert len(rows) == 4  # two tables for each of two types
    assert rows[0][1] == "75.0 (30 of 40)"
    assert rows[0][2] == "+25.0"
    assert rows[0][3].startswith("+")  # 10 of 40 questions are better, none is worse
    assert rows[1][1:] == ["10", "10", "0", "10", "0", "0", "0", "0"]


def test_what_cannot_be_compared_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run make compositions"):
        measure.main([str(tmp_path)])
    write(tmp_path, "plain", 0, 1)
    with pytest.raises(UserError, match="name another --baseline"):
        measure.main([str(tmp_path)])
    write(tmp_path, "other", 0, 1, first=100)
    with pytest.raises(UserError, match="not comparable"):
        measure.main([str(tmp_path), "--baseline", "plain"])
