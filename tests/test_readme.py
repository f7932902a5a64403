"""Every command that a document shows: run where it is quick, else parsed to the last option."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from amif_lightning.cli import main
from amif_lightning.reports.predictions import predictions_path, write_predictions
from amif_lightning.reports.record import record_path, write_record
from amif_lightning.tasks import AMiFVQA
from tests.fakes import write_vqa_med_2019, write_vqa_rad
from tests.reports.conftest import record_for, synthetic_predictions
from tests.small import SMALL, phantom, trainer

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/cli.md", "docs/datasets.md", "docs/results.md")


def commands(document: str) -> list[str]:
    """The lines of a document's shell blocks, continued ones joined, comments left out."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


EVERY = [command for document in DOCUMENTS for command in commands(document)]
CALL = "python -m amif_lightning "


def _of(*starts: str) -> list[str]:
    """The suite's own commands that begin so, without ``python -m amif_lightning``."""
    found = [c.removeprefix(CALL) for c in dict.fromkeys(EVERY) if c.startswith(CALL)]
    return [command for command in found if command.startswith(starts)]


TARGETS = [command for command in dict.fromkeys(EVERY) if command.startswith("make ")]
RUNS = _of("fit ", "validate ", "test ", "predict ")
OTHERS = _of("answer ", "audit ", "prepare data ", "report ")


def test_no_command_goes_unchecked() -> None:
    checked = {*TARGETS, *(CALL + command for command in RUNS + OTHERS), ". .venv/bin/activate"}
    assert set(EVERY) == checked
    assert len(RUNS) > 5
    assert len(TARGETS) > 10


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("command", TARGETS)
def test_a_target_expands(command: str) -> None:
    # As if the environment were made.
    words = ["-n", "--no-print-directory", "-o", ".venv/.installed", *shlex.split(command)[1:]]
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "warning" not in done.stderr


@pytest.mark.parametrize("command", RUNS)
def test_a_run_parses_to_its_last_option(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
    monkeypatch.chdir(ROOT)  # the experiments are named from here; nothing is written
    assert main([*shlex.split(command), "--print_config"]) == 0
    assert "class_path" in capsys.readouterr().out


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the commands name, each in a small fake version."""
    write_vqa_rad(tmp_path / "FOLDER")
    shutil.copytree(tmp_path / "FOLDER", tmp_path / "data" / "vqa_rad")
    write_vqa_med_2019(tmp_path / "data" / "vqa_med_2019")
    lines = synthetic_predictions(0, 0.6, 0.4, 0.4, 12, 5)
    run = tmp_path / "runs" / "made" / "clean" / "seed0"
    write_predictions(predictions_path(run, "test"), lines)
    write_record(record_path(run, "test"), record_for(lines, 0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    torch.manual_seed(0)
    running = trainer(folder, max_steps=1, limit_val_batches=0)
    running.fit(AMiFVQA(**SMALL), datamodule=phantom(folder / "phantom", batch_size=8))
    running.save_checkpoint(folder / "best.ckpt")
    return folder / "best.ckpt"


def _named(words: list[str], option: str) -> Path | None:
    return Path(words[words.index(option) + 1]) if option in words else None


@pytest.mark.parametrize("command", OTHERS)
def test_a_quick_command_runs(
    command: str, place: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command)
    if "--download" in words:  # no network in tests: the option has to exist, the check is run
        words.remove("--download")
        assert main([*words[:2], "--help"]) == 0
        assert "--download" in capsys.readouterr().out
    if words[0] == "answer":
        ckpt, image = _named(words, "--ckpt_path"), _named(words, "--image")
        assert ckpt is not None
        assert image is not None
        for path in (ckpt, image):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(request.getfixturevalue("checkpoint"), ckpt)
        Image.new("L", (40, 40), 90).save(image)
    # Fakes that are compared with each other share pictures, which is a leak.
    allowed = (0, 1) if "--held_out" in words else (0,)
    assert main(words) in allowed, capsys.readouterr().err
    assert capsys.readouterr().out.strip()
