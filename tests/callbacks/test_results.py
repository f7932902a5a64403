"""Record, predictions and answers of a run."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from amif_lightning.callbacks import ResultWriter, results
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.evaluation import Count, EvaluationContext, Prediction
from amif_lightning.reports.records.answering import PredictionLine, ResultRecord
from amif_lightning.reports.records.run import read_record
from amif_lightning.reports.records.schema import read_lines
from amif_lightning.tasks.checkpoints import Origin

QUESTIONS = ("q0", "q1", "q2", "q3")
STRATA = (("overall", "closed/answer"), ("overall", "open/answer"), ("overall", "open/answer"))


def facts() -> EvaluationContext:
    strata = [*STRATA, ("overall", "closed/answer")]
    rows = {
        question: {
            "qid": f"id {question}",
            "image_key": f"image of {question}",
            "question": f"What is {question}?",
            "answer": "Yes",
            "references": ["yes"],
            "answer_type": "CLOSED",
            "question_type": "",
            "strata": names,
            "image_file": f"images/{question}.png",
        }
        for question, names in zip(QUESTIONS, strata, strict=True)
    }
    counts = {"overall": Count(3, 4), "closed/answer": Count(2, 2), "open/answer": Count(1, 2)}
    none = {name: Count(0, score.count) for name, score in counts.items()}
    return EvaluationContext(
        dataset="Toys",
        layout="toy box",
        protocol="clean",
        split="test",
        candidates=2,
        ceiling=counts,
        baselines={"question_only": counts, "same_image_copy": none, "majority": none},
        majority="no",
        answers_from="train",
        baseline_correct=dict.fromkeys(QUESTIONS, False) | {"q1": True},
        rows=rows,
        warnings=("A sentence.",),
    )


def trainer(folder: Path, **more: Any) -> Any:
    state = {
        "is_global_zero": True,
        "datamodule": SimpleNamespace(
            evaluation_context=lambda: replace(facts(), unasked={"q4": "empty question (line 7)"}),
            max_question_tokens=4,  # [CLS], two words, [SEP]
            tokenizer=Tokenizer.from_texts(["What is"]),
        ),
        "log_dir": str(folder),
        "default_root_dir": str(folder),
        "world_size": 1,
        "ckpt_path": "some/best.ckpt",
        "callback_metrics": {},
    }
    return SimpleNamespace(**(state | more))


def task(**more: Any) -> Any:
    state = {
        "device": torch.device("cpu"),
        "answer_by": "rank",
        "hparams": {"lr": 0.1},
        "untrained": False,
        "init_from": None,
        "origin": None,
    }
    return SimpleNamespace(**(state | more))


def answers(right: Sequence[bool], questions: Sequence[str] = QUESTIONS) -> list[Prediction]:
    return [
        Prediction(q, f"shown for {q}", "yes" if ok else "no", -0.5, ok)
        for q, ok in zip(questions, right, strict=True)
    ]


def run(
    writer: ResultWriter,
    folder: Path,
    right: Sequence[bool] = (True, True, False, False),
    control: Sequence[bool] | None = (True, False, False, False),
    *,
    questions: Sequence[str] = QUESTIONS,
    running: Any = None,
    scored: Any = None,
) -> None:
    running, scored = running or trainer(folder), scored or task()
    writer.on_test_start(running, scored)
    for loader, flags in enumerate((right, control)):
        if flags is not None:
            given = answers(flags, questions if loader == 0 else QUESTIONS[: len(flags)])
            for number, part in enumerate((given[:1], given[1:])):
                writer.on_test_batch_end(
                    running, scored, {"predictions": part}, None, number, loader
                )
    writer.on_test_end(running, scored)


def test_the_record_counts_answers_control_and_baselines(tmp_path: Path) -> None:
    run(ResultWriter("toys", 3, str(tmp_path)), tmp_path)
    record = read_record(tmp_path / "result-test.json", ResultRecord)
    assert (record.experiment, record.seed, record.dataset) == ("toys", 3, "Toys")
    assert record.scores == {
        "overall": Count(2, 4),
        "closed/answer": Count(1, 2),
        "open/answer": Count(1, 2),
    }
    assert record.control == {
        "overall": Count(1, 4),
        "closed/answer": Count(1, 2),
        "open/answer": Count(0, 2),
    }
    assert record.ceiling is not None
    assert record.ceiling["open/answer"] == Count(1, 2)
    assert record.baselines.question_only["overall"] == Count(3, 4)
    assert record.baselines.majority["overall"] == Count(0, 4)
    assert (record.majority_answer, record.candidates, record.warnings) == (
        "no",
        2,
        ("A sentence.",),
    )
    assert record.config == {"lr": 0.1}  # the task's, for no other was given
    assert record.checkpoint == "some/best.ckpt"
    assert record.durations.control is not None


def test_lines_have_the_order_and_fields_of_the_release(tmp_path: Path) -> None:
    writer = ResultWriter("toys", 0, str(tmp_path))
    shuffled = ("q2", "q0", "q3", "q1")
    run(writer, tmp_path, (False, True, False, True), questions=shuffled)
    lines = read_lines(tmp_path / "predictions-test.jsonl", PredictionLine)
    assert [line.question_id for line in lines] == list(QUESTIONS)
    assert [line.correct for line in lines] == [True, True, False, False]
    assert [line.control_correct for line in lines] == [True, False, False, False]
    assert [line.baseline_correct for line in lines] == [False, True, False, False]
    assert lines[2].image == "image of q2"
    assert lines[2].image_file == "images/q2.png"
    assert (lines[2].prediction, lines[2].references, lines[2].answer) == ("no", ("yes",), "Yes")


def test_scores_are_printed_with_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[str] = []
    monkeypatch.setattr(results, "rank_zero_info", printed.append)
    loose = replace(facts(), protocol="literature", answers_from="train + test")
    apart = replace(facts(), protocol="disjoint")
    for data, scored in ((facts(), task()), (loose, task(untrained=True)), (apart, task())):
        running = trainer(
            tmp_path, datamodule=SimpleNamespace(evaluation_context=lambda data=data: data)
        )
        run(ResultWriter("toys", 0, str(tmp_path)), tmp_path, running=running, scored=scored)
    assert printed[0].startswith("Toys test [clean], test run 1: 2/4 correct")
    label = "[literature (test answers visible)], UNTRAINED WEIGHTS, test run 2: 2/4 correct"
    assert printed[1].startswith(f"Toys test {label}")
    assert printed[2].startswith("Toys test [disjoint], test run 3: 2/4 correct")
    assert read_record(tmp_path / "result-test.json", ResultRecord).protocol == "disjoint"


def test_free_answers_have_no_ceiling_and_no_candidates(tmp_path: Path) -> None:
    writer = ResultWriter("toys", 0, str(tmp_path))
    run(writer, tmp_path, control=None, scored=task(answer_by="generate"))
    record = read_record(tmp_path / "result-test.json", ResultRecord)
    assert (record.method, record.ceiling, record.candidates) == ("generate", None, None)
    assert record.control is None
    assert record.durations.control is None


def test_every_test_that_starts_is_counted(tmp_path: Path) -> None:
    run(ResultWriter("toys", 0, str(tmp_path)), tmp_path)
    assert read_record(tmp_path / "result-test.json", ResultRecord).test_runs == 1
    ResultWriter("toys", 0, str(tmp_path)).on_test_start(trainer(tmp_path), task())  # and crashed
    run(ResultWriter("toys", 0, str(tmp_path)), tmp_path, (True,), None, questions=("q0",))
    (tmp_path / "result-test.json").unlink()  # as `fit --overwrite` does
    run(ResultWriter("toys", 0, str(tmp_path)), tmp_path)
    assert read_record(tmp_path / "result-test.json", ResultRecord).test_runs == 4


@pytest.mark.parametrize(
    ("right", "control", "first"),
    [((True, False), None, "q2"), ((True,) * 4, (True, True, False), "q3")],
    ids=["answers", "control"],
)
def test_missing_questions_leave_no_record(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: tuple[bool, ...],
    control: tuple[bool, ...] | None,
    first: str,
) -> None:
    printed: list[str] = []
    monkeypatch.setattr(results, "rank_zero_info", printed.append)
    writer = ResultWriter("toys", 0, str(tmp_path))
    run(writer, tmp_path, right, control, questions=QUESTIONS[: len(right)])
    assert [path.name for path in tmp_path.iterdir()] == ["test-runs-test.json"]
    assert "No record written" in printed[0]
    assert f"(first: {first})" in printed[0]


def test_a_logged_score_that_disagrees_is_a_bug(tmp_path: Path) -> None:
    logged = {"test/overall": torch.tensor(0.5), "test/open/answer": torch.tensor(0.0)}
    running = trainer(tmp_path, callback_metrics=logged)
    with pytest.raises(RuntimeError, match=r"test/open/answer was logged as 0\.0+, but .* 0\.50+"):
        run(ResultWriter("toys", 0, str(tmp_path)), tmp_path, running=running)
    assert [path.name for path in tmp_path.iterdir()] == ["test-runs-test.json"]


def test_training_time_is_stored_in_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 130.0, 150.0])
    monkeypatch.setattr(results.time, "monotonic", lambda: next(clock))
    writer = ResultWriter()
    writer.on_train_start(trainer(tmp_path), task())
    assert writer.state_dict() == {"train_seconds": 30.0}  # a checkpoint amid training
    writer.on_train_end(trainer(tmp_path), task())
    monkeypatch.undo()
    run(ResultWriter("toys", 0, str(tmp_path)), tmp_path)
    assert read_record(tmp_path / "result-test.json", ResultRecord).durations.train is None
    later = ResultWriter("toys", 0, str(tmp_path))
    later.load_state_dict(writer.state_dict())
    run(later, tmp_path)
    assert read_record(tmp_path / "result-test.json", ResultRecord).durations.train == 50.0


def test_the_record_contains_the_origin_of_the_weights(tmp_path: Path) -> None:
    warning = "The weights were trained on Other."
    origin = Origin(seconds=91.26, warnings=(warning,))
    started = task(init_from="runs/before/best.ckpt", origin=origin)
    run(ResultWriter("toys", 0, str(tmp_path)), tmp_path, scored=started)
    record = read_record(tmp_path / "result-test.json", ResultRecord)
    assert record.durations.before == 91.3
    assert record.warnings[-1] == warning


def test_predicted_answers_are_written_and_nothing_is_scored(tmp_path: Path) -> None:
    writer = ResultWriter("toys", 0, str(tmp_path))
    running = trainer(tmp_path)
    writer.on_predict_start(running, task())
    # A part only, and not in the release's order.
    given = answers((True, False), ("q2", "q0"))
    writer.on_predict_batch_end(running, task(), given, None, 0)
    writer.on_predict_end(running, task())
    lines = [json.loads(x) for x in (tmp_path / "answers-test.jsonl").read_text().splitlines()]
    with (tmp_path / "answers-test.csv").open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    cut = ["the last 3 tokens of the question were not read"]  # q, 0 and ?
    read: list[dict[str, Any]] = [{k: v or None for k, v in line.items()} for line in cells]
    for found in (lines, read):
        assert [(x["question_id"], x["image"], x["question"], x["answer"]) for x in found] == [
            ("q0", "shown for q0", "What is q0?", "no"),
            ("q2", "shown for q2", "What is q2?", "yes"),
            ("q4", None, None, None),
        ]
        assert [x["log_likelihood"] and float(x["log_likelihood"]) for x in found] == [
            -0.5,
            -0.5,
            None,
        ]
        assert float(found[0]["probability"]) == math.exp(-0.5)
    assert [x["warnings"] for x in lines] == [cut, cut, ["empty question (line 7)"]]
    assert [x["warnings"] for x in cells] == ["; ".join(x["warnings"]) for x in lines]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "answers-test.csv",
        "answers-test.jsonl",
    ]
