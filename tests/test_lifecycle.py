"""The life of a run on the command line, with few generated studies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from amif_lightning.cli import app, main
from amif_lightning.cli.commands.report import main as report
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.reports.records.answering import PredictionLine, ResultRecord
from amif_lightning.reports.records.run import read_record
from amif_lightning.reports.records.schema import read_lines
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.generate import generate
from tests.small import RUN_OPTIONS

SIZES: dict[SplitName, int] = {"train": 24, "validation": 8, "test": 8}
EXPERIMENT = Path(__file__).parents[1] / "experiments" / "vqa" / "phantom.yaml"
# Smaller than any shipped size; dropout, so that a resumed run has masks to repeat.
TINY = (
    f"--config={EXPERIMENT}",
    *RUN_OPTIONS,
    "--model.init_args.text_layers=1",
    "--model.init_args.dropout=0.1",
    "--data.init_args.batch_size=8",
    "--trainer.max_steps=8",
    "--trainer.val_check_interval=4",
)
NO_CONTROL = "--data.init_args.control=false"
Command = Callable[..., tuple[str, ...]]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Words of a command on the small Phantom; runs lie in a folder of this module."""
    base = tmp_path_factory.mktemp("lifecycle")
    generate(base / "phantom", seed=0, studies=SIZES, progress=False)

    def words(name: str, *more: str) -> tuple[str, ...]:
        root, runs = base / "phantom", base / "runs"
        return (name, *TINY, f"--data.init_args.root={root}", f"--runs={runs}", *more)

    return words


@pytest.fixture(autouse=True)
def quiet_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning warns where both ``sys.argv`` and arguments are given."""
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])


@pytest.fixture(scope="module")
def trained(command: Command) -> Path:
    """The folder of a finished ``fit``."""
    folder = _folder(command, "first")
    assert main(command("fit", "--experiment=first")) == 0
    return folder


def _folder(command: Command, experiment: str) -> Path:
    runs = next(word for word in command("fit") if word.startswith("--runs="))
    return Path(runs.removeprefix("--runs=")) / experiment / "clean" / "seed0"


def test_fit_leaves_what_a_later_command_needs(trained: Path) -> None:
    assert {"best.ckpt", "last.ckpt", "config.yaml"} <= {p.name for p in trained.iterdir()}
    assert not list(trained.glob("version_*"))
    last = torch.load(
        trained / "last.ckpt", weights_only=True
    )  # raises on anything but plain types
    assert last["global_step"] == 8
    assert last["answer_space"]["protocol"] == "clean"
    assert len(last["answer_space"]["candidates"]) > 5
    best = torch.load(trained / "best.ckpt", weights_only=True)
    assert best["global_step"] in (4, 8)


def test_record_predictions_metric_and_report_agree(
    command: Command, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command("test", "--experiment=first", "--ckpt_path=best")
    logged = app.run(words).trainer.callback_metrics
    record = read_record(trained / "result-test.json", ResultRecord)
    lines = read_lines(trained / "predictions-test.jsonl", PredictionLine)

    assert record.test_runs == 1
    assert not record.untrained
    assert record.checkpoint == str(trained / "best.ckpt")
    assert record.durations.train is not None
    assert record.durations.train > 0
    assert record.config["model"]["init_args"]["width"] == 32
    for name, score in record.scores.items():
        assert float(logged[f"test/{name}"]) == pytest.approx(score.correct / score.count)
        assert score.count == sum(name in line.strata for line in lines)
        assert score.correct == sum(name in line.strata and line.correct for line in lines)
        assert record.control is not None
        control = record.control[name]
        assert float(logged[f"control/{name}"]) == pytest.approx(control.correct / control.count)
        assert control.correct == sum(
            name in line.strata and line.control_correct is True for line in lines
        )
    for line in lines:
        assert line.correct == (line.prediction in line.references)
        assert line.log_likelihood is not None
        assert line.log_likelihood < 0
    # From the files alone: ranking can reach every question whose answer a training row has.
    questions = [
        json.loads(row)
        for row in (trained.parents[3] / "phantom" / "questions.jsonl").read_text().splitlines()
    ]
    known = {q["answer"] for q in questions if q["split"] == "train"}
    asked = [q for q in questions if q["split"] == "test"]
    assert record.scores["overall"].count == len(asked)
    assert record.ceiling is not None
    assert record.ceiling["overall"].correct == sum(q["answer"] in known for q in asked)

    # Again, otherwise: counted, and recorded as it was scored; config.yaml stays that of `fit`.
    assert main((*words, "--model.init_args.restrict_closed=true")) == 0
    again = read_record(trained / "result-test.json", ResultRecord).config["model"]["init_args"]
    assert (record.config["model"]["init_args"]["restrict_closed"], again["restrict_closed"]) == (
        False,
        True,
    )
    saved = yaml.safe_load((trained / "config.yaml").read_text())
    assert saved["model"]["init_args"]["restrict_closed"] is False
    assert read_record(trained / "result-test.json", ResultRecord).test_runs == 2
    capsys.readouterr()
    assert report([str(trained.parents[1]), "--details"]) == 0
    overall = read_record(trained / "result-test.json", ResultRecord).scores["overall"]
    sentence = f"{overall.correct} of {overall.count} questions are right"
    assert sentence in capsys.readouterr().out


def test_the_same_seed_gives_the_same_record_again(
    command: Command, trained: Path, tmp_path: Path
) -> None:
    """On one machine, on the CPU; times and paths differ, and nothing else."""
    assert main(command("fit", "--experiment=first", f"--runs={tmp_path / 'two'}")) == 0
    folder = tmp_path / "one" / "first" / "clean" / "seed0"
    folder.mkdir(parents=True)
    for name in ("best.ckpt", "config.yaml"):
        shutil.copy(trained / name, folder)
    weights, lines, records = [], [], []
    for name in ("one", "two"):
        words = ("--experiment=first", "--ckpt_path=best", f"--runs={tmp_path / name}")
        assert main(command("test", *words)) == 0
        folder = tmp_path / name / "first" / "clean" / "seed0"
        weights.append(torch.load(folder / "best.ckpt", weights_only=True)["state_dict"])
        lines.append((folder / "predictions-test.jsonl").read_bytes())
        record = json.loads((folder / "result-test.json").read_text())
        for field in ("durations", "finished"):
            del record[field]
        records.append(json.dumps(record).replace(str(tmp_path / name), "RUNS"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert lines[0] == lines[1]
    assert records[0] == records[1]


def test_overwriting_a_run_keeps_the_count_of_its_tests(command: Command) -> None:
    for expected, more in ((1, ()), (2, ("--overwrite",))):
        words = ("--experiment=counted", "--trainer.max_steps=1", "--trainer.val_check_interval=1")
        assert main(command("fit", *words, *more)) == 0
        assert main(command("test", *words, "--ckpt_path=best", NO_CONTROL)) == 0
        record = read_record(_folder(command, "counted") / "result-test.json", ResultRecord)
        assert record.test_runs == expected


def test_predict_writes_the_answers_that_test_scores(command: Command, trained: Path) -> None:
    more = ("--experiment=predicted", f"--ckpt_path={trained / 'best.ckpt'}")
    folder = _folder(command, "predicted")
    assert main(command("predict", *more)) == 0
    given = [json.loads(x) for x in (folder / "answers-test.jsonl").read_text().splitlines()]
    assert main(command("test", *more, NO_CONTROL)) == 0
    scored = read_lines(folder / "predictions-test.jsonl", PredictionLine)
    assert [set(x) for x in given] == [
        {"question_id", "image", "question", "answer"}
        | {"probability", "log_likelihood", "warnings"}
    ] * len(scored)
    assert [(x["question_id"], x["image"], x["question"], x["answer"]) for x in given] == [
        (line.question_id, line.image, line.question, line.prediction) for line in scored
    ]
    assert [x["log_likelihood"] for x in given] == pytest.approx(
        [line.log_likelihood for line in scored]
    )
    assert read_record(folder / "result-test.json", ResultRecord).control is None


def test_validate_reports_the_selected_score(command: Command, trained: Path) -> None:
    # 8 studies hold fewer questions than the sample ranked during training, so both see all.
    best = torch.load(trained / "best.ckpt", weights_only=True)
    selected = next(
        float(state["best_model_score"])
        for key, state in best["callbacks"].items()
        if key.startswith("ModelCheckpoint") and state.get("best_model_score") is not None
    )
    words = command("validate", "--experiment=first", "--ckpt_path=best")
    assert float(app.run(words).trainer.callback_metrics["val/overall"]) == pytest.approx(selected)


# With epochs, the number of steps is counted on the loader before the progress is restored.
EPOCHS = ("--trainer.max_steps=-1", "--trainer.max_epochs=2")


@pytest.fixture(scope="module")
def whole(command: Command) -> Any:
    """An uninterrupted run; its ``last.ckpt`` is of a step in the middle of an epoch."""
    kept = ("--last.every_n_train_steps=5", "--last.save_on_train_epoch_end=false")
    return app.run(command("fit", *EPOCHS, "--experiment=whole", *kept))


def test_resuming_amid_an_epoch_repeats_the_uninterrupted_run(command: Command, whole: Any) -> None:
    last = _folder(command, "whole") / "last.ckpt"
    stored = torch.load(last, weights_only=True)
    assert 0 < stored["global_step"] < whole.trainer.global_step
    assert stored["global_step"] % int(whole.trainer.num_training_batches)

    resumed = app.run(command("fit", *EPOCHS, "--experiment=resumed", f"--ckpt_path={last}"))
    for group in resumed.trainer.optimizers[0].param_groups:
        assert group["initial_lr"] == resumed.model.lr
        assert tuple(group["betas"]) == tuple(resumed.model.betas)
    decays = [group["weight_decay"] for group in resumed.trainer.optimizers[0].param_groups]
    assert decays == [resumed.model.weight_decay, 0.0]
    assert_same(whole, resumed)
    ours = whole.model.state_dict()
    assert any(not torch.equal(ours[key], stored["state_dict"][key]) for key in ours)


def assert_same(whole: Any, resumed: Any) -> None:
    """Two runs ended at the same step with the same weights."""
    assert resumed.trainer.global_step == whole.trainer.global_step
    ours, theirs = whole.model.state_dict(), resumed.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    stored: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for run, checkpoint in zip((whole, resumed), stored, strict=True):
        run.model.on_save_checkpoint(checkpoint)  # measures the features of training images
    assert stored[0]["answer_space"] == stored[1]["answer_space"]
    assert stored[0]["answer_space"]["image_limit"] > 0


def test_a_run_ended_by_sigterm_amid_an_epoch_continues_exactly(
    command: Command,
    whole: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps, per_epoch = int(whole.trainer.global_step), int(whole.trainer.num_training_batches)
    # The last step that neither an epoch's end nor a validation (every four steps) follows.
    stop = max(step for step in range(1, steps) if step % per_epoch and step % 4) - 1
    assert stop > per_epoch
    begin = AMiFVQA.on_train_batch_start

    def meet_sigterm(self: AMiFVQA, batch: object, batch_idx: int) -> object:
        if self.trainer.global_step == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return begin(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(AMiFVQA, "on_train_batch_start", meet_sigterm)
        assert main(command("fit", *EPOCHS, "--experiment=stopped")) == 143
    assert "resume with: " in capsys.readouterr().err
    last = torch.load(_folder(command, "stopped") / "last.ckpt", weights_only=True)
    assert last["global_step"] == stop + 1
    assert_same(whole, app.run(command("fit", *EPOCHS, "--experiment=stopped", "--ckpt_path=last")))


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["warmup=0.5", "betas=[0.9,0.999]"])
def test_what_the_optimizer_state_would_undo_is_refused(
    command: Command, trained: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = trained / "last.ckpt"
    words = command("fit", "--experiment=undone", f"--ckpt_path={last}")
    assert main((*words, f"--model.init_args.{option}")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: model.init_args.{option.partition('=')[0]} is ")
    assert error.endswith(
        f"start anew with --model.init_args.init_from {last} and without --ckpt_path."
    )


def test_a_run_outlives_the_file_it_started_from(
    command: Command, trained: Path, tmp_path: Path
) -> None:
    parent = Path(shutil.copy(trained / "best.ckpt", tmp_path / "parent.ckpt"))
    start = f"--model.init_args.init_from={parent}"
    more = ("--experiment=child", start, "--trainer.val_check_interval=1")
    assert main(command("fit", *more, "--trainer.max_steps=1")) == 0
    parent.unlink()
    assert main(command("fit", *more, "--trainer.max_steps=2", "--ckpt_path=last")) == 0
    assert main(command("test", *more, "--ckpt_path=best", NO_CONTROL)) == 0
    record = read_record(_folder(command, "child") / "result-test.json", ResultRecord)
    assert record.checkpoint == str(_folder(command, "child") / "best.ckpt")
    assert not record.untrained


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--trainer.max_steps=-1", "--trainer.max_epochs=-1"),
            "set --trainer.max_epochs or --trainer.max_steps",
        ),
        (("--data.init_args.image_size=96",), "gives images of 96 pixels and the model expects 64"),
        (
            ("--model.init_args.init_from={}", "--model.init_args.width=64"),
            "start from a checkpoint of the same size",
        ),
    ],
)
def test_a_wrong_set_up_is_one_sentence(
    command: Command,
    trained: Path,
    options: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = (word.format(trained / "best.ckpt") for word in options)
    assert main(command("fit", "--experiment=wrong", *more)) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("starts", [True, False])
def test_a_record_names_the_weights_or_their_absence(
    command: Command, trained: Path, starts: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    best = str(trained / "best.ckpt")
    more = [f"--model.init_args.init_from={best}"] if starts else []
    experiment = f"weights-{starts}"
    assert main(command("test", f"--experiment={experiment}", NO_CONTROL, *more)) == 0
    warned = "EVERY SCORE BELOW COMES FROM UNTRAINED WEIGHTS" in capsys.readouterr().err
    record = read_record(_folder(command, experiment) / "result-test.json", ResultRecord)
    assert warned == record.untrained == (not starts)
    assert record.checkpoint == (best if starts else None)


def test_a_part_of_the_test_writes_no_record(
    command: Command,
    trained: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    best = shutil.copy(trained / "best.ckpt", tmp_path / "best.ckpt")
    part = ("--trainer.limit_test_batches=1", "--data.init_args.eval_batch_size=4")
    words = command("test", "--experiment=part", f"--ckpt_path={best}", *part)
    with caplog.at_level("INFO"):
        assert main(words) == 0
    assert "No record written" in caplog.text
    assert "test/overall" in capsys.readouterr().out  # Lightning's table
    folder = _folder(command, "part")
    assert not list(folder.glob("result-*"))
    assert not list(folder.glob("predictions-*"))
    # Its scores were seen all the same, so the next test is the second one.
    with caplog.at_level("INFO"):
        assert main(command("test", "--experiment=part", f"--ckpt_path={best}")) == 0
    assert read_record(folder / "result-test.json", ResultRecord).test_runs == 2
    assert "Phantom test [clean], test run 2: " in caplog.text
    printed = capsys.readouterr().out
    assert "test/overall" not in printed
    assert f"report {folder} --details" in printed
