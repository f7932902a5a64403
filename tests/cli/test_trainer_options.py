"""Loggers: TensorBoard stays when another is added, and shows curves only."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from amif_lightning.cli.trainer_options import loggers
from tests.cli.conftest import Main

RUN = Path("runs/Toys-Classifier/clean/seed0")
CSV = (
    "--trainer.logger=CSVLogger",
    "--trainer.logger.save_dir=",
    "--trainer.logger.name=",
    "--trainer.logger.version=csv",
)


def tags(folder: Path) -> list[str]:
    events = EventAccumulator(str(folder))
    events.Reload()
    found: list[str] = events.Tags()["scalars"]
    return found


def test_another_logger_is_added_to_tensorboard_in_the_run_folder(
    fit: Main, toy_main: Main
) -> None:
    assert fit(*CSV) == 0
    with (RUN / "csv" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_loss"] for row in rows if row["val_loss"]] == ["0.0", "1.0"]
    assert {"train_loss", "val_loss"} <= set(tags(RUN))
    # The saved configuration is valid for any run folder.
    saved = RUN / "config.yaml"
    assert yaml.safe_load(saved.read_text())["trainer"]["logger"]["init_args"]["save_dir"] == ""
    assert toy_main("fit", f"--config={saved}", "--experiment=again") == 0
    assert Path("runs/again/clean/seed0/csv/metrics.csv").is_file()


def test_tensorboard_shows_no_single_points_of_a_test(tmp_path: Path) -> None:
    names = ["train/answer_loss", "val/overall", "lr-AdamW"]
    of_a_test = ["test/overall", "test/type/side", "control/overall", "blank/overall"]
    found = loggers(None, str(tmp_path))
    assert isinstance(found, list)
    found[0].log_metrics(dict.fromkeys([*names, *of_a_test], 0.5), step=1)
    found[0].finalize("success")
    assert sorted(set(tags(tmp_path)) - {"epoch"}) == sorted(names)


def test_the_loggers_of_a_run(tmp_path: Path) -> None:
    board, other = TensorBoardLogger(tmp_path), CSVLogger(tmp_path)
    assert loggers(False, "x") is False
    assert loggers([other, board], "x") == [other, board]
    for given, kept in ((None, []), (True, []), (other, [other]), ([other], [other])):
        found = loggers(given, str(tmp_path))
        assert isinstance(found, list)
        assert isinstance(found[0], TensorBoardLogger)
        assert Path(found[0].log_dir) == tmp_path
        assert found[1:] == kept
