"""fit, test and resume through ``main``, on toys."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.plugins import TorchCheckpointIO

from amif_lightning.cli import app
from amif_lightning.cli.checkpoints import WholeFileCheckpointIO
from tests.cli.conftest import QUICK, Main
from tests.cli.toys import toy_suite

RUN = Path("runs/Toys-Classifier/clean/seed0")


def checkpoint(name: str = "last") -> dict[str, object]:
    loaded: dict[str, object] = torch.load(RUN / f"{name}.ckpt", weights_only=True)
    return loaded


def test_a_run_lies_in_its_folder_without_version(fit: Main) -> None:
    assert fit() == 0
    names = {path.name for path in RUN.iterdir()}
    assert {"config.yaml", "best.ckpt", "last.ckpt"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(path.is_dir() for path in RUN.iterdir())


def test_experiment_protocol_seed_and_runs_name_the_folder(fit: Main) -> None:
    assert fit(
        "--experiment=demo", "--runs=out", "--data.protocol=literature", "--seed_everything=7"
    ) == 0  # fmt: skip
    assert Path("out/demo/literature/seed7/last.ckpt").is_file()


def test_last_moves_on_where_the_score_does_not(fit: Main) -> None:
    """One ModelCheckpoint with save_last=True would leave both at the first epoch."""
    assert fit("--trainer.max_epochs=3") == 0
    assert checkpoint("best")["epoch"] == 0
    assert checkpoint("last")["epoch"] == 2


def test_the_same_seed_gives_the_same_weights(fit: Main) -> None:
    weights = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert fit(f"--experiment={name}", f"--seed_everything={seed}") == 0
        path = Path(f"runs/{name}/clean/seed{seed}/last.ckpt")
        weights.append(torch.load(path, weights_only=True)["state_dict"]["layers.0.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_seed_reaches_task_and_data(toy_main: Main) -> None:
    cli = app.run(["fit", *QUICK, "--seed_everything=4", "--trainer.fast_dev_run=1"], toy_suite())
    assert (cli.model.seed, cli.datamodule.seed) == (4, 4)


def test_fast_dev_run_writes_nothing_and_is_never_refused(fit: Main) -> None:
    assert fit() == 0
    before = sorted(path.name for path in RUN.iterdir())
    assert fit("--trainer.fast_dev_run=1", "--overwrite") == 0
    assert sorted(path.name for path in RUN.iterdir()) == before


def test_resume_gives_the_weights_of_an_uninterrupted_run(fit: Main) -> None:
    assert fit("--trainer.max_epochs=1") == 0
    assert fit("--trainer.max_epochs=3", "--ckpt_path=last") == 0
    assert fit("--trainer.max_epochs=3", "--experiment=whole") == 0
    whole = torch.load("runs/whole/clean/seed0/last.ckpt", weights_only=True)["state_dict"]
    resumed = torch.load(RUN / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_the_configuration_wins_over_the_checkpoint(fit: Main) -> None:
    """LightningCLI merges a checkpoint's hyper-parameters over the command line."""
    assert fit() == 0
    cli = app.run(["validate", *QUICK, "--ckpt_path=last", "--model.lr=0.5"], toy_suite())
    assert cli.model.hparams["lr"] == 0.5


def test_a_resumed_run_has_the_rate_of_its_configuration(
    fit: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    """The optimizer state brings back the checkpoint's rate, so another one is refused."""
    assert fit("--model.lr=0.3") == 0
    more = ("--ckpt_path=last", "--trainer.max_epochs=3")
    assert fit(*more, "--model.lr=0.5") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"model.init_args.lr is 0.5 and {RUN}/last.ckpt was trained with 0.3" in said
    assert f"--model.init_args.init_from {RUN}/last.ckpt" in said
    cli = app.run(["fit", *QUICK, *more, "--model.lr=0.3"], toy_suite())
    trainer: Any = cli.trainer
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == [0.3]
    assert cli.model.hparams["lr"] == 0.3


def test_a_checkpoint_of_another_seed_is_refused(
    fit: Main, test: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--seed_everything=1") == 0
    best = RUN.with_name("seed1") / "best.ckpt"
    assert test(f"--ckpt_path={best}") == 2
    assert f"{best} was trained with seed 1 and --seed_everything is 0" in capsys.readouterr().err
    assert not RUN.exists()
    assert test(f"--ckpt_path={best}", "--seed_everything=1") == 0


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_forgotten_checkpoint_is_refused_where_one_was_trained(
    fit: Main, toy_main: Main, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit() == 0
    assert toy_main(command, *QUICK, "--model.init_from=parent.ckpt") == 2
    assert f"`{command}` without --ckpt_path" in capsys.readouterr().err
    assert not (RUN / "result-test.json").exists()


def test_a_checkpoint_takes_the_place_of_init_from(fit: Main) -> None:
    assert fit("--model.init_from=parent.ckpt") == 0
    words = ("--model.init_from=parent.ckpt", "--ckpt_path=last")
    assert app.run(["test", *QUICK, *words], toy_suite()).model.init_from is None
    cli = app.run(["fit", *QUICK, *words, "--trainer.max_epochs=3"], toy_suite())
    assert cli.model.init_from is None


def test_training_further_sets_the_record_aside(
    fit: Main, test: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit() == 0
    assert test("--ckpt_path=best") == 0
    assert fit("--ckpt_path=last", "--trainer.fast_dev_run=1") == 0
    assert (RUN / "result-test.json").exists()
    capsys.readouterr()
    assert fit("--ckpt_path=last", "--trainer.max_epochs=3") == 0
    assert "result-test.json renamed to superseded-1-*" in capsys.readouterr().out
    assert not (RUN / "result-test.json").exists()
    assert (RUN / "superseded-1-result-test.json").exists()


def test_checkpoints_are_written_by_the_suite_s_own_writer(toy_main: Main) -> None:
    dry = ["fit", *QUICK, "--trainer.fast_dev_run=1"]
    cli = app.run(dry, toy_suite())
    assert type(cli.trainer.strategy.checkpoint_io) is WholeFileCheckpointIO
    named = "--trainer.plugins+=lightning.pytorch.plugins.TorchCheckpointIO"
    cli = app.run([*dry, named], toy_suite())
    assert type(cli.trainer.strategy.checkpoint_io) is TorchCheckpointIO
    named = "--trainer.plugins+=lightning.pytorch.plugins.environments.LightningEnvironment"
    cli = app.run([*dry, named], toy_suite())
    assert type(cli.trainer.strategy.checkpoint_io) is WholeFileCheckpointIO


def test_an_earlier_run_is_protected(
    fit: Main, test: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit() == 0
    assert fit() == 2
    assert "unfinished run" in capsys.readouterr().err
    assert test("--ckpt_path=best") == 0
    assert fit() == 2
    assert "finished run (result-test.json)" in capsys.readouterr().err
    assert test("--ckpt_path=best") == 0  # scoring again is allowed; records count it
    assert "UNTRAINED" not in capsys.readouterr().err
    assert fit("--overwrite") == 0
    assert not (RUN / "result-test.json").exists()


def test_overwrite_deletes_nothing_when_the_configuration_is_wrong(fit: Main) -> None:
    assert fit() == 0
    assert fit("--overwrite", "--model.width=99") == 2
    assert (RUN / "last.ckpt").exists()


def test_overwrite_belongs_to_fit(test: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert test("--overwrite") == 2
    assert "belongs to `fit`" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--checkpoint.dirpath=x", "--trainer.default_root_dir=x"])
def test_the_run_folder_is_set_in_one_way(
    fit: Main, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(word) == 2
    assert "use --runs" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_every_command_accepts_the_saved_config(fit: Main, toy_main: Main, command: str) -> None:
    assert fit("--experiment=demo", "--model.width=5", "--seed_everything=3") == 0
    saved = "runs/demo/clean/seed3/config.yaml"
    config = yaml.safe_load(Path(saved).read_text())
    assert config["model"]["init_args"]["width"] == 5
    assert not {"ckpt_path", "overwrite", "config"} & set(config)
    name = "last" if command == "fit" else "best"
    assert toy_main(command, "--config", saved, "--ckpt_path", name) == 0


def test_records_know_the_run(fit: Main, test: Main) -> None:
    assert fit("--experiment=demo", "--seed_everything=2") == 0
    assert test("--experiment=demo", "--seed_everything=2", "--ckpt_path=best") == 0
    record = json.loads(Path("runs/demo/clean/seed2/result-test.json").read_text())
    assert (record["experiment"], record["seed"], record["untrained"]) == ("demo", 2, False)


def test_records_hold_the_configuration_that_was_scored(fit: Main, test: Main) -> None:
    assert fit() == 0
    assert test("--ckpt_path=best", "--data.batch_size=2") == 0
    config = json.loads((RUN / "result-test.json").read_text())["config"]
    assert config["data"]["init_args"]["batch_size"] == 2
    saved = yaml.safe_load((RUN / "config.yaml").read_text())  # that of `fit`
    assert saved["data"]["init_args"]["batch_size"] == 4
    saved["data"]["init_args"]["batch_size"] = 2
    assert config == saved


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_announced_loudly(
    toy_main: Main, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy_main(command, *QUICK) == 0
    assert "UNTRAINED WEIGHTS" in capsys.readouterr().err


def test_a_checkpoint_of_another_size(
    fit: Main, test: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit() == 0
    assert test("--ckpt_path=best", "--model.width=9") == 2
    printed = capsys.readouterr().err
    assert "layers.0.weight has shape [4, 3], in this model [9, 3]" in printed
    assert f"use --config {RUN}/config.yaml" in printed
    assert "Traceback" not in printed


def test_a_damaged_checkpoint(fit: Main, test: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    (RUN / "best.ckpt").write_bytes(b"abc")
    assert test("--ckpt_path=best") == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("error: ")
    assert "best.ckpt" in printed


def test_the_printed_line_resumes(
    fit: Main, toy_main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "--trainer.max_epochs=3"
    assert fit("--model=Interrupted", name, "--experiment=a", "--overwrite") == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].partition(": ")[2])
    assert words[:3] == [sys.executable, "-m", "amif_lightning"]
    again = [word.replace("Interrupted", "Classifier") for word in words[3:]]
    assert toy_main(*again) == 0
    last = torch.load("runs/a/clean/seed0/last.ckpt", weights_only=True)
    assert last["global_step"] == 6


def test_sigterm_says_how_to_resume_and_is_no_success(
    fit: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning raises a SystemExit without a code, and `make` would go on with the next step."""
    before = signal.getsignal(signal.SIGTERM)
    more = ("--trainer.max_epochs=3", f"--experiment={RUN.parts[1]}")
    assert fit("--model=Terminated", *more) == 143
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted; resume with: ")
    assert last.endswith("--ckpt_path last")
    # The step that SIGTERM met was the first of two of the second epoch, and none is lost.
    assert (checkpoint()["epoch"], checkpoint()["global_step"]) == (1, 3)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bug_in_training_keeps_its_traceback(fit: Main) -> None:
    with pytest.raises(ZeroDivisionError):
        fit("--model=Broken")


def test_user_errors_from_the_data_are_one_line(
    fit: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--data.root=missing") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: the folder missing holds no data: give --data.root."
    )


def test_lightning_s_own_complaint_is_one_line(
    fit: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--trainer.max_epochs=3") == 0
    assert fit("--ckpt_path=last", "--trainer.max_epochs=1") == 2
    assert "max_epochs=1" in capsys.readouterr().err.splitlines()[-1]


def test_later_configs_win_and_the_command_line_last(toy_main: Main, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "model:\n  class_path: Classifier\n  init_args:\n    lr: 1e-4\n    width: 5\n"
        "data:\n  class_path: Toys\n"
    )
    (tmp_path / "b.yaml").write_text("model:\n  init_args:\n    width: 6\n")
    words = ["fit", "--config", "a.yaml", "--config", "b.yaml", "--trainer.fast_dev_run=1"]
    cli = app.run(words, toy_suite())
    assert (cli.model.hparams["lr"], cli.model.hparams["width"]) == (1e-4, 6)
    cli = app.run([*words, "--model.width=7"], toy_suite())
    assert cli.model.hparams["width"] == 7


def test_print_config_is_itself_a_config(
    fit: Main, toy_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--print_config") == 0
    (tmp_path / "p.yaml").write_text(capsys.readouterr().out)
    assert toy_main("fit", "--config=p.yaml", "--trainer.fast_dev_run=1") == 0


def test_callbacks_take_arguments(toy_main: Main) -> None:
    words = ["fit", *QUICK, "--answer_images.samples=3", "--checkpoint.save_top_k=2"]
    cli = app.run([*words, "--lr_monitor.logging_interval=epoch"], toy_suite())
    trainer: Any = cli.trainer  # its callbacks have no common type
    found = {type(callback).__name__: callback for callback in trainer.callbacks}
    assert found["ToyImages"].samples == 3
    assert found["LearningRate"].logging_interval == "epoch"
    assert trainer.checkpoint_callbacks[0].save_top_k == 2


def test_without_a_logger(fit: Main) -> None:
    """Lightning's LearningRateMonitor raises where nothing logs."""
    assert fit("--trainer.logger=false") == 0
    assert (RUN / "config.yaml").is_file()


def test_resuming_within_an_epoch_does_not_warn_of_the_loader(
    fit: Main, recwarn: pytest.WarningsRecorder
) -> None:
    """Lightning does where the loader has no `state_dict`; the data module continues exactly."""
    within = ("--last.every_n_train_steps=1", "--last.save_on_train_epoch_end=false")
    assert fit("--trainer.max_steps=1", *within) == 0
    recwarn.clear()
    assert fit("--ckpt_path=last", *within) == 0
    assert "not resumable" not in " ".join(str(warning.message) for warning in recwarn)


def test_only_advertisements_are_silenced(
    fit: Main, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        assert fit() == 0
    assert "Tip:" not in caplog.text
    assert app._not_a_tip(logging.makeLogRecord({"msg": "GPU available: False, used: False"}))
