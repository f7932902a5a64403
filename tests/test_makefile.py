"""The Makefile: its help, its environment, and the commands that its targets run in the end."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from amif_lightning.cli import main

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests" / "make_commands.txt"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make as if the virtual environment were up to date, and never on the checkout's runs."""
    # Nothing can lie below a file; a word that names another folder comes later and holds.
    runs = f"RUNS={os.devnull}/runs"
    command = ["make", "--no-print-directory", "-o", ".venv/.installed", runs, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def recipe(*words: str) -> list[list[str]]:
    """The words of each line of a target's recipe."""
    done = make("-n", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if not line.startswith("#")]


def comparable(words: list[str]) -> tuple[list[str], list[list[str]]]:
    """A command with its configs in their order, and its other options in any; a report as is."""
    if words[0] == "report":
        return words, []
    pairs = [words[place : place + 2] for place in range(1, len(words), 2)]
    configs = [file for name, file in pairs if name == "--config"]
    return [words[0], *configs], sorted(pair for pair in pairs if pair[0] != "--config")


def expected() -> dict[str, list[list[str]]]:
    """The table: a target with its variables, then the commands of one seed."""
    found: dict[str, list[list[str]]] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("make "):
            commands = found.setdefault(line, [])
        else:
            commands.append(shlex.split(line))
    return found


@pytest.mark.parametrize("target", expected())
def test_a_target_runs_these_commands(
    target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the loops in shell that `sweep` replaced."""
    monkeypatch.chdir(ROOT)
    more = ("RUNS=/nowhere/runs", "SEEDS=3", "EXTRA=--trainer.devices 1")
    (words,) = [line for line in recipe(*shlex.split(target)[1:], *more) if "sweep" in line]
    assert main(["sweep", "--dry-run", *words[words.index("sweep") + 1 :]]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    found = [comparable(line[3:]) for line in lines if line[:1] == ["python"]]
    wanted = [comparable(line) for line in expected()[target]]
    if target == "make compositions":  # all variants are trained before answers are generated
        found, wanted = sorted(found), sorted(wanted)
    assert found == wanted


@pytest.mark.parametrize(
    "target",
    [
        "reproduce-vqa-rad",
        "reproduce-slake",
        "reproduce-path-vqa",
        "reproduce-vqa-med",
        "reproduce-pretrain CORPUS=roco",
        "ablations DATA=vqa_med_2019",
        "compare-pretraining-vqa-med",
        "compare-mixture VQA_RAD=/rad VQA_MED=/med",
    ],
)
def test_benchmarks_run_with_packaged_encoders(
    target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIZE=small comes after the experiment, and the real parser reads the merged files."""
    monkeypatch.chdir(ROOT)
    more = ("RUNS=/nowhere/runs", "SIZE=small", *([] if "VQA_RAD" in target else ["ROOT=/data"]))
    (words,) = [line for line in recipe(*shlex.split(target), *more) if "sweep" in line]
    assert main(["sweep", "--dry-run", *words[words.index("sweep") + 1 :]]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    fits = [line[3:] for line in lines if line[:1] == ["python"] and line[3] == "fit"]
    assert fits
    stages = set()
    for fit in fits:
        pairs = [fit[place : place + 2] for place in range(1, len(fit), 2)]
        configs = [file for name, file in pairs if name == "--config"]
        stage = configs[0].split("/")[1]
        sizes = ["small", "small_answering"] if stage == "vqa" else ["small"]
        assert configs[1 : 1 + len(sizes)] == [f"experiments/size/{size}.yaml" for size in sizes]
        if stage not in stages:  # one of each stage: a parse takes a second
            stages.add(stage)
            words = [word for word in fit if word != "--ckpt_path"]
            assert main([*words, "--print_config"]) == 0
            merged = yaml.safe_load(capsys.readouterr().out)
            assert merged["model"]["init_args"]["vision"] == "efficientnet-lite0"


def test_bare_make_lists_every_target() -> None:
    phony = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = re.findall(r"^  (\S+) +\S", make().stdout, flags=re.MULTILINE)
    assert {"demo", "test", "test-all", "ddp", "reproduce-vqa-med"} <= set(phony)
    assert set(phony) <= set(listed)


def test_the_report_is_also_a_page() -> None:
    (words,) = recipe("report", "RUNS=a folder", "REPORT=--published --no-images")
    page = ["--html", "a folder/report.html", "--published", "--no-images"]
    assert words[words.index("report") :] == ["report", "a folder", *page]


def test_tensorboard_is_for_this_machine_alone() -> None:
    output = make("-n", "tensorboard", "PORT=6107", "RUNS=a folder").stdout
    assert "http://127.0.0.1:6107/" in output
    (line,) = [line for line in output.splitlines() if "bin/tensorboard" in line]
    assert line.endswith('--logdir "a folder" --host 127.0.0.1 --port 6107')


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reproduce-vqa-rad", "ROOT=/x", "SPLIT=validation"], "VQA-RAD has no validation set"),
        (["reproduce-pretrain", "CORPUS=mixture", "ROOT=/x"], "CORPUS=mixture has no ROOT"),
    ],
)
def test_what_would_not_fit_is_refused(words: list[str], sentence: str) -> None:
    done = make(*words, "AMIF=echo CALL")
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "CALL" not in done.stdout


def test_a_mixture_is_scored_on_each_set_alone() -> None:
    lines = recipe("compare-mixture", "VQA_RAD=/rad", "VQA_MED=/it's")
    scored = [line for line in lines if "benchmarks/measures/validation.py" in line]
    for words, data, root in zip(
        scored, ("vqa_rad", "vqa_med_2019"), ("/rad", "/it's"), strict=True
    ):
        assert f"experiments/vqa/{data}.yaml" in words
        assert words[words.index("--data.init_args.root") + 1] == root


def test_a_failing_sweep_stops_the_target() -> None:
    assert make("demo", "AMIF=false").returncode != 0


PYTHON = """\
#!/bin/sh
echo "$0 $*" >> {log}
case "$*" in
  "-m venv"*) for folder; do :; done; mkdir -p "$folder/bin"; touch "$folder/pyvenv.cfg"
              cp "$0" "$folder/bin/python" ;;
esac
"""


@pytest.mark.parametrize("state", ["absent", "interrupted", "foreign folder", "whole"])
def test_an_interrupted_environment_is_made_anew(tmp_path: Path, state: str) -> None:
    log, venv, python = tmp_path / "log", tmp_path / "venv", tmp_path / "python"
    python.write_text(PYTHON.format(log=log))
    python.chmod(0o755)
    if state != "absent":
        (venv / "bin").mkdir(parents=True)
    if state in ("interrupted", "whole"):
        (venv / "pyvenv.cfg").touch()
    if state == "interrupted":  # `python -m venv` was stopped before pip was there
        # No link to /bin/false: the stand-in copies itself over this file, through a link too.
        (venv / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
        (venv / "bin" / "python").chmod(0o755)
    if state == "whole":
        shutil.copy(python, venv / "bin" / "python")
    done = subprocess.run(
        ["make", "install", f"VENV={venv}", f"PYTHON={python}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    made = [line for line in log.read_text().splitlines() if " -m venv " in line]
    clear = "--clear " if state == "interrupted" else ""
    assert made == ([] if state == "whole" else [f"{python} -m venv {clear}{venv}"])
    assert (venv / ".installed").is_file()
