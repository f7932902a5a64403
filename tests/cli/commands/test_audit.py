"""``audit``: the data class alone, from options, config files, or both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from amif_lightning.cli import main
from tests.cli.conftest import Main
from tests.fakes import redraw, write_vqa_med_2019, write_vqa_rad


@pytest.mark.parametrize(
    ("words", "code", "printed"),
    [
        ([], 0, "clean: True\n"),
        (["--json"], 0, '{\n  "clean": true\n}\n'),
        (["--data.init_args.root", "leaky"], 1, "clean: False\n"),
        (["--data.root=leaky", "--data.protocol=literature"], 0, "clean: False\n"),
        (["--data.root=blind"], 1, "clean: True\n"),  # bad images fail under any protocol
        (["--data.root=blind", "--data.protocol=literature"], 1, "clean: True\n"),
    ],
    ids=str,
)
def test_exit_codes(
    toy_main: Main, words: list[str], code: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy_main("audit", "--data=Toys", *words) == code
    assert capsys.readouterr().out == printed


def test_an_audit_needs_no_embeddings_of_the_teacher(tmp_path: Path) -> None:
    words = ["audit", "--data=PhantomStudies", f"--data.root={tmp_path / 'phantom'}"]
    words += ["--data.train_studies=8", "--data.validation_studies=2", "--data.test_studies=2"]
    assert main([*words, "--data.teacher=embeddings", "--data.teacher_source=absent"]) == 0


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    (tmp_path / "a.yaml").write_text(
        "# an experiment\nmodel:\n  class_path: Unknown\ntrainer:\n  max_epochs: 3\n"
        "data:\n  class_path: Toys\n  init_args:\n    root: leaky\n    lr_like: 1e-4\n"
    )
    return "a.yaml"


def test_only_the_data_of_experiments_is_read_and_later_ones_win(
    toy_main: Main, experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy_main("audit", "--config", experiment) == 1
    (tmp_path / "size.yaml").write_text("model:\n  init_args:\n    width: 3\n")  # no data node
    (tmp_path / "b.yaml").write_text("data:\n  init_args:\n    root: tidy\n")
    words = ("--config", experiment, "--config", "size.yaml", "--config", "b.yaml")
    assert toy_main("audit", *words) == 0
    # The command line wins at any place.
    assert toy_main("audit", "--data.root=tidy", "--config", experiment) == 0
    assert toy_main("audit", "--config", experiment, "--data.root=tidy") == 0
    capsys.readouterr()
    assert toy_main("audit", "--config", "size.yaml") == 2
    assert "no key `data:`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "data missing: give --config"),
        (["--data=Toyz"], "no data class `Toyz`; did you mean `Toys`?"),
        (["--data=Toys", "--data.rot=x"], "data Toys has no option `rot`; did you mean `root`?"),
        (["--data=Toys", "--jso"], "no option `--jso`; did you mean `--json`?"),
        (["--config", "none.yaml"], "none.yaml does not exist"),
        (["--config", "a.yaml"], "a.yaml, line 4: data Toys has no option `rot`"),
    ],
    ids=str,
)
def test_errors_are_sentences(
    toy_main: Main,
    tmp_path: Path,
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.yaml").write_text("data:\n  class_path: Toys\n  init_args:\n    rot: x\n")
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
