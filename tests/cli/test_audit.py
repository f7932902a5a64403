"""``audit``: the data class alone, from options, config files, or both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amif_lightning.cli import main
from tests.cli.conftest import Main


def test_clean_is_0_and_a_leak_is_1(toy_main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy_main("audit", "--data", "Toys") == 0
    assert capsys.readouterr().out == "clean: True\n"
    assert toy_main("audit", "--data", "Toys", "--data.init_args.root", "leaky") == 1
    assert capsys.readouterr().out == "clean: False\n"


@pytest.mark.parametrize("protocol", ["clean", "literature"])
def test_bad_pictures_fail_under_any_protocol(toy_main: Main, protocol: str) -> None:
    assert toy_main("audit", "--data=Toys", "--data.root=blind", f"--data.protocol={protocol}") == 1


def test_a_missing_picture_of_a_real_data_class_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", "--data=Phantom", f"--data.root={tmp_path / 'phantom'}"]
    words += ["--data.train_studies=40", "--data.validation_studies=10", "--data.test_studies=10"]
    assert main(words) == 0
    next((tmp_path / "phantom").rglob("*.png")).unlink()
    assert main(words) == 1
    assert "1 missing" in capsys.readouterr().out


def test_the_literature_protocol_is_reported_but_not_failed(toy_main: Main) -> None:
    words = ("--data=Toys", "--data.root=leaky", "--data.protocol=literature")
    assert toy_main("audit", *words) == 0


def test_json(toy_main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy_main("audit", "--data=Toys", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"clean": True}


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    (tmp_path / "a.yaml").write_text(
        "# an experiment\nmodel:\n  class_path: Unknown\ntrainer:\n  max_epochs: 3\n"
        "data:\n  class_path: Toys\n  init_args:\n    root: leaky\n    lr_like: 1e-4\n"
    )
    return "a.yaml"


def test_only_the_data_of_an_experiment_is_read(toy_main: Main, experiment: str) -> None:
    assert toy_main("audit", "--config", experiment) == 1


def test_later_configs_win(toy_main: Main, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "size.yaml").write_text("model:\n  init_args:\n    width: 3\n")  # no data node
    (tmp_path / "b.yaml").write_text("data:\n  init_args:\n    root: tidy\n")
    words = ("--config", experiment, "--config", "size.yaml", "--config", "b.yaml")
    assert toy_main("audit", *words) == 0


def test_the_command_line_wins_wherever_it_stands(toy_main: Main, experiment: str) -> None:
    assert toy_main("audit", "--data.root=tidy", "--config", experiment) == 0
    assert toy_main("audit", "--config", experiment, "--data.root=tidy") == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "data missing: give --config"),
        (["--data=Toyz"], "no data class `Toyz`; did you mean `Toys`?"),
        (["--data=Toys", "--data.rot=x"], "data Toys has no option `rot`; did you mean `root`?"),
        (["--data=Toys", "--jso"], "no option `--jso`; did you mean `--json`?"),
        (["--config", "none.yaml"], "none.yaml does not exist"),
    ],
    ids=str,
)
def test_errors_are_sentences(
    toy_main: Main, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy_main("audit", *words) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert len(printed.splitlines()) == 1


def test_studies_are_refused_in_a_sentence_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--data=PhantomStudies", f"--data.root={tmp_path / 'p'}"]) == 2
    printed = capsys.readouterr().err
    assert "data PhantomStudies asks no questions" in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "p").exists()


def test_a_config_without_data(
    toy_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "size.yaml").write_text("model:\n  init_args:\n    width: 3\n")
    assert toy_main("audit", "--config", "size.yaml") == 2
    assert "no `data:` there" in capsys.readouterr().err


def test_a_misspelt_key_is_found_in_its_file(
    toy_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("data:\n  class_path: Toys\n  init_args:\n    rot: x\n")
    assert toy_main("audit", "--config", "a.yaml") == 2
    assert "a.yaml, line 4: data Toys has no option `rot`" in capsys.readouterr().err
