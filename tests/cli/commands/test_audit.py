"""``audit``: the data class alone, from options, config files, or both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from amif_lightning.cli import main
from tests.cli.conftest import Main
from tests.fakes import redraw, write_vqa_med_2019, write_vqa_rad


def test_clean_is_0_and_a_leak_is_1(toy_main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy_main("audit", "--data", "Toys") == 0
    assert capsys.readouterr().out == "clean: True\n"
    assert toy_main("audit", "--data", "Toys", "--data.init_args.root", "leaky") == 1
    assert capsys.readouterr().out == "clean: False\n"


@pytest.mark.parametrize("protocol", ["clean", "literature"])
def test_bad_images_fail_under_any_protocol(toy_main: Main, protocol: str) -> None:
    assert toy_main("audit", "--data=Toys", "--data.root=blind", f"--data.protocol={protocol}") == 1


def test_a_missing_image_of_a_real_data_class_is_exit_code_1(
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


def test_studies_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", "--data=PhantomStudies", f"--data.root={tmp_path / 'p'}"]
    words += ["--data.train_studies=40", "--data.validation_studies=10", "--data.test_studies=10"]
    words += ["--data.tokenizer=words", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sizes"]["trained"]["studies"] == 40
    assert found["clean"] is True
    next((tmp_path / "p").rglob("*.png")).unlink()
    assert main([*words, "--check_images=false"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] is None
    assert main(words) == 1
    assert len(json.loads(capsys.readouterr().out)["images"]["missing"]) == 1


def test_a_trained_image_of_a_held_out_set_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_vqa_med_2019(tmp_path / "med")
    write_vqa_rad(tmp_path / "rad")
    redraw(tmp_path / "med", 1)
    redraw(tmp_path / "rad", 2)
    held_out = json.dumps([{"class_path": "VQARAD", "init_args": {"root": str(tmp_path / "rad")}}])
    words = ["audit", "--data=VQAMed2019", f"--data.root={tmp_path / 'med'}"]
    words += [f"--hashes={tmp_path / 'hashes'}"]
    assert main(words) == 0
    assert "across" not in capsys.readouterr().out
    assert not (tmp_path / "hashes").exists()
    words += [f"--held_out={held_out}"]
    assert main(words) == 0
    assert "clean: no trained image found in a held-out" in capsys.readouterr().out
    # A training image gets the name of the test image that VQA-RAD shows nowhere else.
    shown = tmp_path / "med/ImageClef-2019-VQA-Med-Training"
    for listing in shown.rglob("*.txt"):
        listing.write_text(listing.read_text().replace("synpic20000", "synpic10444"))
    images = shown / "Train_images"
    shutil.copy(tmp_path / "rad/VQA_RAD Image Folder/synpic10444.jpg", images)
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "NOT CLEAN (clean): 1 trained images" in printed
    assert "synpic10444.jpg = VQARAD/VQA_RAD Image Folder/synpic10444.jpg" in printed
    assert main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    split = found["across"]["held_out"][0]["splits"]["test"]
    assert split["by_name"] == {"trained": 1, "images": 1, "rows": 2}
    (pair,) = [pair for pair in split["pairs"] if pair["by_name"]]
    assert (pair["by_content"], pair["bits"]) == (True, 0)
    assert sorted(p.name for p in (tmp_path / "hashes").glob("[!.]*")) == [
        "VQAMed2019.npz",
        "VQARAD.npz",
    ]
    assert main([*words, "--data.protocol=literature"]) == 0


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
