"""Every command of the documents is checked: run, parsed by the real parser, or expanded by make.

Commands run word for word in a folder that holds what they name: FOLDER and data/ with small fakes,
runs/ with the record of a run, experiments/ of this tree.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from PIL import Image

from amif_lightning.cli import main
from amif_lightning.data.files import sources, weights
from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.schema import write_lines
from data_modules import VQARAD
from tests.fakes import write_image, write_vqa_med_2019, write_vqa_rad
from tests.fakes_table import write_question_table
from tests.reports.conftest import record_for, synthetic_predictions
from tests.small import saved

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{name}.md" for name in ("cli", "datasets", "own_data", "score", "weights")),
)
PYTHON = ["python", "-m", "amif_lightning"]
ACTIVATE = [".", ".venv/bin/activate"]
# In the workplace.
CHECKPOINT, IMAGE = Path("made.ckpt"), Path("made.png")


def blocks(document: str, kind: str) -> list[str]:
    """The code blocks of one kind in a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The commands of a shell block, without comments, each on one line."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [shlex.join(each) for each in words if each]


COMMANDS = [
    (name, line) for name in DOCUMENTS for block in blocks(name, "sh") for line in commands(block)
]


# ---- the rules ---------------------------------------------------------------------------------


def parsed(words: list[str]) -> None:
    """Read by the real parser, with the files that the command names; nothing is trained."""
    assert main([*words, "--print_config"]) == 0


def made(words: list[str]) -> None:
    """Expanded by make, as if the environment were up to date."""
    call = ["make", "-n", "--no-print-directory", "-C", str(ROOT), "-o", ".venv/.installed"]
    done = subprocess.run([*call, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def launched(words: list[str]) -> None:
    """The command that each process runs is read by the real parser."""
    cut = words.index("-m")
    assert words[cut + 1] == "amif_lightning"
    parsed(words[cut + 2 :])


def fetched(words: list[str]) -> None:
    """Run, with the download recorded instead of made: tests have no network."""
    asked: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "fetch", lambda source, root, **_: asked.append((source, root)))
        assert main(words) == 0
    assert len(asked) == ("--download" in words)


def weighed(words: list[str]) -> None:
    """Run, with the repositories recorded instead of fetched."""
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "fetch_repository", lambda name, *_, **__: asked.append(name))
        assert main(words) == 0
    assert len(asked) == len(weights.PARTS)


def reported(words: list[str]) -> None:
    """Run on the folder of runs or of data that it names."""
    assert main(words) == 0


def planned(words: list[str]) -> None:
    """Printed, and not run."""
    cut = words.index("--") if "--" in words else len(words)
    assert main([*words[:cut], "--dry-run", *words[cut:]]) == 0


def audited(words: list[str]) -> None:
    """Run; the fakes hold leaks between splits on purpose, which is exit code 1."""
    assert main(words) in (0, 1)


def judged(words: list[str]) -> None:
    """Run, with one answer to every question in the files of the command."""
    rows = VQARAD("data/vqa_rad").splits.test
    lines = [json.dumps({"question_id": row.question_id, "answer": "yes"}) + "\n" for row in rows]
    for name in words:
        if name.endswith(".jsonl"):
            Path(name).write_text("".join(lines))
    assert main(words) == 0


def activated(words: list[str]) -> None:
    """The environment is the one that make makes."""
    assert words == ACTIVATE[1:]
    assert "VENV ?= .venv\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def answered(words: list[str]) -> None:
    """Run, with a checkpoint and an image at the paths of the command."""
    options = dict(pairwise(words))
    for option, made in (("--ckpt_path", CHECKPOINT), ("--image", IMAGE)):
        place = Path(options[option])
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, place)
    assert main(words) == 0


def shared(words: list[str]) -> None:
    """Run on a checkpoint at the path of the command, to a folder, without the upload."""
    place = Path(words[1])
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKPOINT, place)
    assert main(words[: words.index("--push")]) == 0


def shown(words: list[str]) -> None:
    """Load a checkpoint at the path of the command; the page is not served."""
    place = Path(words[words.index("--ckpt_path") + 1])
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKPOINT, place)
    with mock.patch("uvicorn.Server.run"):
        assert main([*words, "--port", "0"]) == 0


@dataclass(frozen=True)
class Rule:
    """The check of commands with the same first words.

    Attributes:
        start: Their first words.
        check: Takes the others; of the command line also the command itself.
    """

    start: list[str]
    check: Callable[[list[str]], None]


RULES = [
    *(Rule([*PYTHON, name], parsed) for name in ("fit", "validate", "test", "predict")),
    Rule([*PYTHON, "prepare", "data"], fetched),
    Rule([*PYTHON, "prepare", "weights"], weighed),
    *(Rule([*start, "audit"], audited) for start in (PYTHON, ["amif-lightning"])),
    Rule([*PYTHON, "answer"], answered),
    Rule([*PYTHON, "share"], shared),
    Rule([*PYTHON, "demo"], shown),
    Rule([*PYTHON, "export-questions"], reported),
    Rule([*PYTHON, "score"], judged),
    Rule([*PYTHON, "report"], reported),
    Rule([*PYTHON, "sweep"], planned),
    Rule(["torchrun"], launched),
    Rule(["make"], made),
    Rule(ACTIVATE[:1], activated),
]


def rule_of(line: str) -> tuple[Rule, list[str]]:
    """The rule of a command and the words that it takes.

    Raises:
        LookupError: If there is none.
    """
    words = shlex.split(line)
    for rule in RULES:
        if words[: len(rule.start)] == rule.start:
            return rule, words[len(PYTHON) if words[:3] == PYTHON else 1 :]
    raise LookupError(f"no rule of tests/test_readme.py checks `{line}`: add one")


# ---- the tests ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that commands name."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    write_vqa_rad(folder / "FOLDER")
    write_vqa_rad(folder / "data" / "vqa_rad")
    write_vqa_med_2019(folder / "data" / "vqa_med_2019")
    write_question_table(folder / "data" / "my_data")
    write_image(folder / "data" / "scans" / "1.png", 1)
    write_image(folder / "data" / "scans" / "2.png", 2)
    for place in "12":
        (folder / "data" / "scans" / f"{place}.txt").write_text("where? = left\n")
    (program,) = blocks("docs/own_data.md", "python")
    (folder / "my_data.py").write_text(program, encoding="utf-8")
    for name, path in (("my_data", "vqa/table"), ("pretrain-image_text", "pretrain/image_text")):
        (folder / "runs" / name / "clean" / "seed0").mkdir(parents=True)
        config = folder / "runs" / name / "clean" / "seed0" / "config.yaml"
        shutil.copy(ROOT / "experiments" / f"{path}.yaml", config)
    lines = synthetic_predictions(0, 0.6, 0.4, 0.4, 12, 5)
    run = folder / "runs" / "vqa-phantom" / "clean" / "seed0"
    write_lines(run / "predictions-test.jsonl", lines)
    write_record(record_path(run, "test"), record_for(lines, 0))
    shutil.copy(saved(folder)[1], folder / CHECKPOINT)
    Image.new("L", (40, 40), 90).save(folder / IMAGE)
    return folder


@pytest.mark.parametrize(("document", "line"), COMMANDS)
def test_a_command_works(
    document: str, line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, words = rule_of(line)
    if rule.start == ["make"] and shutil.which("make") is None:
        pytest.skip("make is not installed")
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(str(workplace))  # as both forms of the command line do
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
    rule.check(words)


def test_the_commands_are_found() -> None:
    found = [line for document, line in COMMANDS if document == "README.md"]
    starts = {tuple(rule_of(line)[0].start) for line in found}
    assert {("make",), (*PYTHON, "fit"), (*PYTHON, "audit"), (*PYTHON, "report")} <= starts
    # Continued lines are one command, and comments are none of it.
    local, answering = [line for line in found if "init_from" in line]
    best = "--model.init_args.init_from runs/pretrain-phantom{}/clean/seed1/best.ckpt"
    assert local.endswith(best.format(""))
    assert answering.endswith(best.format("-local"))


@pytest.mark.parametrize(
    "line", ["pip install amif", "python -m amif_lightning sing", "python train.py", "./make demo"]
)
def test_a_command_without_a_rule_fails(line: str) -> None:
    with pytest.raises(LookupError, match="no rule"):
        rule_of(line)


@pytest.mark.parametrize(
    "line",
    [
        "python -m amif_lightning fit --config experiments/vqa/none.yaml",
        "python -m amif_lightning fit --config experiments/vqa/phantom.yaml --model.wdith 3",
        "python -m amif_lightning audit --data VQARAD --data.rot FOLDER",
        "python -m amif_lightning report nowhere",
        "make reproduce-nothing",
        ". venv/bin/activate",
    ],
)
def test_a_wrong_command_fails(line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    rule, words = rule_of(line)
    with pytest.raises(AssertionError):
        rule.check(words)


DATA = [block for name in DOCUMENTS for block in blocks(name, "yaml")]


@pytest.mark.parametrize("block", DATA)
def test_a_configuration_is_understood(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "part.yaml").write_text(block, encoding="utf-8")
    base = ROOT / "experiments" / "pretrain" / "phantom.yaml"
    words = ["fit", f"--config={base}", f"--config={tmp_path / 'part.yaml'}", "--print_config"]
    assert main(words) == 0
    check_within(yaml.safe_load(block), yaml.safe_load(capsys.readouterr().out))


def check_within(given: Any, read: Any) -> None:
    """Compare classes and the names of their options."""
    if isinstance(given, list):
        for one, other in zip(given, read, strict=True):
            check_within(one, other)
    elif isinstance(given, dict):
        for name, value in given.items():
            if name == "class_path":
                assert read[name].rpartition(".")[2] == value.rpartition(".")[2]
            else:
                check_within(value, read[name])


def test_the_tree_names_every_folder() -> None:
    (tree,) = [block for block in blocks("README.md", "") if "src/amif_lightning/" in block]
    named = set(re.findall(r"^( *\S+/) +\S", tree, flags=re.MULTILINE))
    package = ROOT / "src" / "amif_lightning"
    inner = {f"  {path.parent.name}/" for path in package.glob("*/__init__.py")}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    outer = {
        f"{path.name}/"
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".")
        if not any(fnmatch(path.name, pattern.strip("/")) for pattern in ignored)
    } - {"src/"}
    assert {"tests/", "docs/"} <= outer
    assert named == inner | outer | {"src/amif_lightning/"}


def test_every_target_and_file_that_is_mentioned_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (\S+)$", makefile, flags=re.MULTILINE))
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        mentioned = set(" ".join(re.findall(r"`make ((?:[a-z-]+ ?)+)", text)).split())
        assert mentioned <= targets, name
        files = set(re.findall(r"experiments/[\w/]+\.yaml", text))
        assert {file for file in files if not (ROOT / file).is_file()} == set(), name


def _rows(text: str) -> set[str]:
    """Table rows without padding."""
    return {" ".join(line.split()) for line in text.splitlines() if line.startswith("| ")}


def test_the_results_are_those_of_the_committed_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = README.partition("\n## Results so far\n")[2].partition("\n## ")[0]
    printed = set()
    for archive in sorted((ROOT / "docs" / "results" / "records").glob("*.tar.xz")):
        folder = tmp_path / archive.name
        with tarfile.open(archive) as members:
            members.extractall(folder, filter="data")
        assert main(["report", str(folder), "--summary"]) == 0
        printed |= _rows(capsys.readouterr().out)
    assert len(_rows(results)) == 6
    assert _rows(results) <= printed


def test_it_stays_short() -> None:
    assert len(README.splitlines()) <= 150
