"""fit, test and resume through ``main``, on toys."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
import yaml
from fsspec.implementations.memory import MemoryFileSystem

from amif_lightning.cli import app, processes
from amif_lightning.cli.checkpoints import WholeFileCheckpointIO
from tests.cli.conftest import DRY, QUICK, Main
from tests.cli.toys import toy_suite

RUN = Path("runs/Toys-Classifier/clean/seed0")
WIDE = "--model.width=5"  # as the trained run
Capture = pytest.CaptureFixture[str]


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def test_a_finished_run_lies_in_its_folder_without_version(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "best.ckpt", "last.ckpt", "result-test.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(path.is_dir() for path in trained.iterdir())
    # One ModelCheckpoint with save_last=True would leave both at the first epoch, the best.
    assert (load(trained / "best.ckpt")["epoch"], load(trained / "last.ckpt")["epoch"]) == (0, 2)


def test_options_reach_the_folder_the_seed_and_the_callbacks(toy_main: Main) -> None:
    words = ["--experiment=demo", "--runs=out", "--data.protocol=literature", "--seed_everything=7"]
    words += ["--answer_images.samples=3", "--checkpoint.save_top_k=2"]
    words += ["--lr_monitor.logging_interval=epoch"]
    words += ["--trainer.plugins+=lightning.pytorch.plugins.environments.LightningEnvironment"]
    cli = app.run(["fit", *DRY, *words], toy_suite())
    assert cli.run_folder is not None
    assert cli.run_folder.path == Path("out/demo/literature/seed7")
    assert (cli.model.seed, cli.datamodule.seed) == (7, 7)
    trainer: Any = cli.trainer  # its callbacks have no common type
    found = {type(callback).__name__: callback for callback in trainer.callbacks}
    assert found["ToyImages"].samples == 3
    assert found["LearningRate"].logging_interval == "epoch"
    assert trainer.checkpoint_callbacks[0].save_top_k == 2
    assert type(trainer.strategy.checkpoint_io) is WholeFileCheckpointIO


def test_fast_dev_run_writes_nothing_and_is_never_refused(trained: Path, toy_main: Main) -> None:
    before = sorted(path.name for path in trained.iterdir())
    assert toy_main("fit", *DRY, "--overwrite") == 0
    assert sorted(path.name for path in trained.iterdir()) == before


def test_resume_gives_the_weights_of_an_uninterrupted_run(
    fit: Main, finished: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Also within an epoch, where Lightning warns of loaders without `state_dict`."""
    within = ("--last.every_n_train_steps=1", "--last.save_on_train_epoch_end=false")
    assert fit(WIDE, "--trainer.max_steps=2", *within) == 0
    recwarn.clear()
    assert fit(WIDE, "--trainer.max_epochs=3", "--ckpt_path=last") == 0
    assert "not resumable" not in " ".join(str(warning.message) for warning in recwarn)
    whole, resumed = (load(path / "last.ckpt")["state_dict"] for path in (finished / RUN, RUN))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_the_configuration_wins_over_the_checkpoint(
    trained: Path, toy_main: Main, capsys: Capture
) -> None:
    """LightningCLI merges a checkpoint's hyper-parameters over the command line."""
    words = [*DRY, WIDE, "--ckpt_path=last", "--model.lr=0.5"]
    cli = app.run(["validate", *words, "--model.init_from=parent.ckpt"], toy_suite())
    assert cli.model.hparams["lr"] == 0.5
    assert cli.model.init_from is None  # the checkpoint takes its place
    assert toy_main("fit", *words) == 2  # the optimizer state would restore the checkpoint's rate
    state = f"the optimizer state of {RUN}/last.ckpt would restore 0.1"
    assert f"lr is 0.5, but {state}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_forgotten_checkpoint_is_refused_where_one_was_trained(
    trained: Path, toy_main: Main, command: str, capsys: Capture
) -> None:
    assert toy_main(command, *QUICK, "--model.init_from=parent.ckpt") == 2
    assert f"`{command}` without --ckpt_path" in capsys.readouterr().err


def test_training_further_sets_the_record_aside(trained: Path, fit: Main, capsys: Capture) -> None:
    assert fit(WIDE, "--ckpt_path=last", "--trainer.max_epochs=4") == 0
    assert "result-test.json renamed to superseded-1-*" in capsys.readouterr().out
    assert not (trained / "result-test.json").exists()
    assert (trained / "superseded-1-result-test.json").exists()


def test_an_earlier_run_is_protected(trained: Path, fit: Main, capsys: Capture) -> None:
    assert fit() == 2
    assert "finished run (result-test.json)" in capsys.readouterr().err
    assert fit("--overwrite", "--model.width=99") == 2  # a wrong configuration deletes nothing
    (trained / "result-test.json").rename(trained / "result-old.json")
    assert (trained / "last.ckpt").exists()
    assert fit("--overwrite", "--trainer.max_epochs=1") == 0
    assert not (trained / "result-old.json").exists()
    assert fit() == 2
    assert "unfinished run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_refused_call_leaves_nothing(toy_main: Main, tmp_path: Path, command: str) -> None:
    """Lightning's logger writes an event file before the data are checked."""
    (tmp_path / "out").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert toy_main(command, *QUICK, "--data.root=missing", "--runs=out/here") == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refused_overwrite_keeps_the_earlier_run(trained: Path, fit: Main) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in trained.iterdir() if path.name != ".fit.owner"}

    before = files()
    assert fit("--overwrite", "--data.root=missing") == 2
    assert files() == before


@pytest.mark.parametrize(
    "words",
    [
        ["--checkpoint.monitor=val_los"],
        ["--trainer.callbacks=[{class_path: EarlyStopping, init_args: {monitor: val_los}}]"],
    ],
)
def test_a_misspelt_monitor_stops_at_the_first_validation(
    fit: Main, words: list[str], capsys: Capture
) -> None:
    assert fit(*words, "--trainer.max_epochs=3") == 2
    printed = capsys.readouterr().err
    assert (
        "monitors `val_los`, which this validation did not log; did you mean `val_loss`?"
        in (printed.splitlines()[-1])
    )
    assert "Traceback" not in printed
    assert not list(RUN.glob("*.ckpt"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test", "--overwrite"], "belongs to `fit`"),
        (["fit", "--checkpoint.dirpath=x"], "use --runs"),
        (["test", "--ckpt_path=best", "--weights_only=false"], "could run code"),
        (["test", f"--ckpt_path={RUN}"], "is a folder"),
        (["test", f"--ckpt_path=file://{RUN}"], "is a folder"),
        (["test", "--ckpt_path=s3://bucket/x.ckpt"], "Install s3fs"),
        (["fit", "--trainer.default_root_dir=x"], "use --runs"),
        (["test", f"--ckpt_path={RUN}/best.ckpt", "--seed_everything=1"], "trained with seed 0"),
        (["fit", "--data.root=missing"], "error: the folder missing holds no data: give --data."),
        (["fit", WIDE, "--ckpt_path=last", "--trainer.max_epochs=1"], "max_epochs=1"),  # Lightning
        (["test", "--ckpt_path=best", "--model.width=9"], "layers.0.weight has shape [5, 3], in"),
        (["test", "--ckpt_path=best", "--model.width=9"], f"use --config {RUN}/config.yaml"),
    ],
)
def test_a_refused_call_is_one_sentence(
    trained: Path, toy_main: Main, words: list[str], message: str, capsys: Capture
) -> None:
    extra = ["--experiment=other"] if words == ["fit", "--data.root=missing"] else []
    assert toy_main(words[0], *QUICK, *words[1:], *extra) == 2
    printed = capsys.readouterr().err
    assert message in printed.splitlines()[-1]
    assert "Traceback" not in printed


def test_a_checkpoint_at_an_address(
    trained: Path, toy_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched once, and its temporary copy is removed."""
    content = (trained / "last.ckpt").read_bytes()
    remote = fsspec.filesystem("memory")
    remote.pipe_file("/app.ckpt", content)
    fetched: list[str] = []
    real = MemoryFileSystem.get_file

    def counted(self: Any, source: str, target: str, **options: Any) -> None:
        fetched.append(target)
        real(self, source, target, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    words = (*QUICK, WIDE, "--ckpt_path=memory://app.ckpt")
    assert toy_main("test", *words) == 0
    record = json.loads((trained / "result-test.json").read_text())
    assert toy_main("test", *QUICK, WIDE, "--ckpt_path=last") == 0
    assert record == json.loads((trained / "result-test.json").read_text())
    assert toy_main("fit", *words, "--experiment=further", "--trainer.max_epochs=4") == 0
    assert load(Path("runs/further/clean/seed0/last.ckpt"))["epoch"] == 3
    assert len(fetched) == 2
    assert not any(Path(copy).parent.exists() for copy in fetched)


def test_a_damaged_checkpoint(trained: Path, test: Main, capsys: Capture) -> None:
    (trained / "best.ckpt").write_bytes(b"abc")
    assert test("--ckpt_path=best") == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("error: ")
    assert "best.ckpt" in printed


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_every_command_accepts_the_saved_config(
    trained: Path, toy_main: Main, command: str
) -> None:
    saved = trained / "config.yaml"
    config = yaml.safe_load(saved.read_text())
    assert config["model"]["init_args"]["width"] == 5
    assert not {"ckpt_path", "overwrite", "config"} & set(config)
    words = ("--config", str(saved), "--ckpt_path=last", "--trainer.max_epochs=4")
    assert toy_main(command, *words) == 0


def test_records_hold_the_run_and_the_configuration_that_was_scored(trained: Path) -> None:
    record = json.loads((trained / "result-test.json").read_text())
    assert (record["experiment"], record["seed"], record["untrained"]) == (
        "Toys-Classifier",
        0,
        False,
    )
    saved = yaml.safe_load((trained / "config.yaml").read_text())  # that of `fit`
    assert saved["data"]["init_args"]["batch_size"] == 4
    saved["data"]["init_args"]["batch_size"] = 2
    assert record["config"] == saved


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_announced_loudly(
    toy_main: Main, command: str, capsys: Capture
) -> None:
    assert toy_main(command, *QUICK) == 0
    assert "UNTRAINED WEIGHTS" in capsys.readouterr().err


def test_help_names_the_help_of_classes(toy_main: Main, capsys: Capture) -> None:
    assert toy_main("fit", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: amif-lightning fit [--config FILE ...] [options]")
    assert "--model.help CLASS and --data.help CLASS" in text
    assert toy_main("fit", "--data.help", "Toys") == 0
    assert "--data.studies" in capsys.readouterr().out


def test_fit_ends_with_the_best_score_and_the_command_that_tests_it(
    fit: Main, toy_main: Main, capsys: Capture
) -> None:
    assert fit("--overwrite", "--experiment=a") == 0
    best, following = capsys.readouterr().out.splitlines()[-2:]
    assert best == "Best val_loss 0.0000 at step 2: runs/a/clean/seed0/best.ckpt"
    words = shlex.split(following.removeprefix("Next: "))
    assert words[:4] == [sys.executable, "-m", "amif_lightning", "test"]
    assert words[-2:] == ["--ckpt_path", "best"]
    assert toy_main(*words[3:]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "of runs/a/clean/seed0"
    assert "test_loss" not in printed
    assert toy_main(*words[3:], "--verbose=true") == 0
    assert "test_loss" in capsys.readouterr().out
    assert fit("--trainer.limit_val_batches=0", "--experiment=b") == 0
    assert "Best" not in capsys.readouterr().out


def test_the_printed_line_resumes(fit: Main, toy_main: Main, capsys: Capture) -> None:
    name = "--trainer.max_epochs=3"
    assert fit("--model=Interrupted", name, "--experiment=a", "--overwrite") == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].partition(": ")[2])
    assert words[:3] == [sys.executable, "-m", "amif_lightning"]
    again = [word.replace("Interrupted", "Classifier") for word in words[3:]]
    assert toy_main(*again) == 0
    assert load(Path("runs/a/clean/seed0/last.ckpt"))["global_step"] == 6


def test_sigterm_prints_how_to_resume_and_is_no_success(fit: Main, capsys: Capture) -> None:
    """Lightning raises a SystemExit without a code, and `make` would go on with the next step."""
    before = signal.getsignal(signal.SIGTERM)
    more = ("--trainer.max_epochs=3", f"--experiment={RUN.parts[1]}")
    assert fit("--model=Terminated", *more) == 143
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted; resume with: ")
    assert last.endswith("--ckpt_path last")
    # The step that SIGTERM met was the first of two of the second epoch, and none is lost.
    saved = load(RUN / "last.ckpt")
    assert (saved["epoch"], saved["global_step"]) == (1, 3)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_resume_within_the_last_epoch_keeps_its_curves(fit: Main) -> None:
    """Lightning does not start an epoch again that it continues."""
    more = ("--trainer.max_epochs=2", f"--experiment={RUN.parts[1]}")
    assert fit("--model=Terminated", *more) == 143
    before = set(RUN.glob("events*"))
    assert fit(*more, "--ckpt_path=last") == 0
    assert load(RUN / "last.ckpt")["global_step"] == 4
    assert before < set(RUN.glob("events*"))


def test_a_bug_in_training_keeps_its_traceback(fit: Main) -> None:
    with pytest.raises(ZeroDivisionError):
        fit("--model=Broken")


def test_later_configs_win_and_the_printed_one_is_itself_a_config(
    toy_main: Main, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a.yaml").write_text(
        "model:\n  class_path: Classifier\n  init_args:\n    lr: 1e-4\n    width: 5\n"
        "data:\n  class_path: Toys\n"
    )
    (tmp_path / "b.yaml").write_text("model:\n  init_args:\n    width: 6\n")
    words = ["fit", "--config", "a.yaml", "--config", "b.yaml"]
    assert toy_main(*words, "--model.init_from=x", "--print_config") == 0
    printed = capsys.readouterr().out
    arguments = yaml.safe_load(printed)["model"]["init_args"]
    assert [arguments[name] for name in ("lr", "width", "init_from")] == [1e-4, 6, "x"]
    (tmp_path / "p.yaml").write_text(printed)
    assert toy_main("fit", "--config=p.yaml", "--model.width=7", "--print_config") == 0
    assert "width: 7" in capsys.readouterr().out


def test_without_a_logger(fit: Main) -> None:
    """Lightning's LearningRateMonitor raises where nothing logs."""
    assert fit("--trainer.logger=false", "--trainer.max_epochs=1") == 0
    assert (RUN / "config.yaml").is_file()


def test_only_advertisements_are_silenced(toy_main: Main, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        assert toy_main("fit", *DRY) == 0
    assert "Tip:" not in caplog.text
    assert processes._not_a_tip(logging.makeLogRecord({"msg": "GPU available: False, used: False"}))
