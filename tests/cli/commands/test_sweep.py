"""``sweep``: the keys of its files, and which runs are started, resumed or skipped."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.cli import main
from amif_lightning.cli.commands import sweep
from amif_lightning.cli.sweep_file import plan
from amif_lightning.errors import UserError

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "experiments" / "sweep").glob("*.yaml"))
NEEDED = {"root": "/x", "data": "slake", "vqa_rad": "/x", "vqa_med": "/y"}

Calls = Callable[..., list[str]]


@pytest.fixture
def calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Calls:
    """The commands of a sweep of this tree, with its runs in ``tmp_path``."""
    monkeypatch.chdir(ROOT)

    def run(name: str, *words: str) -> list[str]:
        file = f"experiments/sweep/{name}.yaml"
        assert main(["sweep", file, "--runs", str(tmp_path), "--dry-run", *words]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line.removeprefix("python -m amif_lightning ") for line in lines if "-m am" in line]

    return run


def left_behind(folder: Path, *names: str) -> None:
    """A run folder as an earlier call left it."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def checkpoints(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Each call's command, and the checkpoint that it is given."""
    return [(line.split()[0], re.findall(r"--ckpt_path (\w+)", line)) for line in lines]


def experiments(lines: list[str]) -> list[str]:
    return [name for line in lines for name in re.findall(r"--experiment (\S+)", line)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_understood(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    given = {name: value for name, value in NEEDED.items() if f"  {name}:\n" in text}
    planned = plan(path, given)
    assert planned.runs
    assert {planned.report, *planned.baselines} - {""} <= {run.name for run in planned.runs}
    assert text.startswith(f"# python -m amif_lightning sweep experiments/sweep/{path.name}")


def test_a_seed_is_skipped_resumed_or_started(calls: Calls, tmp_path: Path) -> None:
    left = {0: ("result-test.json",), 1: ("last.ckpt", "best.ckpt"), 2: ("best.ckpt",)}
    for seed, names in left.items():
        left_behind(tmp_path / "vqa_rad-tiny" / "clean" / f"seed{seed}", *names)
    words = ["--root", "x", "--set", "data=vqa_rad", "--seeds", *"0123"]
    found = calls("reproduce", *words, "--", "--trainer.max_epochs", "1")
    assert checkpoints(found) == [
        ("fit", ["last"]),
        ("test", ["best"]),
        ("fit", ["best"]),  # stopped before its first epoch ended
        ("test", ["best"]),
        ("fit", []),
        ("test", ["best"]),
        ("report", []),
    ]
    assert all("--trainer.max_epochs 1" in line for line in found[:-1])
    seeds = [re.findall(r"--seed_everything (\d)", line)[0] for line in found[:-1]]
    assert seeds == ["1", "1", "2", "2", "3", "3"]


def test_a_run_that_only_fits_is_skipped_with_those_that_start_from_it(
    calls: Calls, tmp_path: Path
) -> None:
    words = ("pretraining_vqa_med", "--root", "x")
    pretrained = ["pretrain-vqa_med_2019-tiny", *["vqa_med_2019-tiny-pretrained"] * 2]
    scratch = ["vqa_med_2019-tiny-scratch"] * 2
    assert experiments(calls(*words)) == [*pretrained, *scratch]
    left_behind(tmp_path / "vqa_med_2019-tiny-pretrained/clean/seed0", "result-validation.json")
    assert experiments(calls(*words)) == scratch


def test_a_split_has_its_own_folder_and_record(calls: Calls, tmp_path: Path) -> None:
    """With the test split the released validation set chooses the checkpoint."""
    for split in ("validation", "test"):
        words = ("--root", "x", "--set", "data=vqa_med_2019", "--split", split)
        assert set(experiments(calls("reproduce", *words))) == {f"vqa_med_2019-tiny-{split}"}
        folder = tmp_path / f"vqa_med_2019-tiny-{split}" / "clean" / "seed0"
        left_behind(folder, f"result-{split}.json")
        assert [line.split()[0] for line in calls("reproduce", *words)] == ["report"]


def test_ablations_differ_in_one_overlay_and_start_from_one_checkpoint() -> None:
    given = {"answering_ablations": "without_gate vocabulary_answers"}
    runs = {
        run.name: run for run in plan(ROOT / "experiments/sweep/ablations_phantom.yaml", given).runs
    }
    assert len(runs) == 16 + 2
    alone = {"pretrain-phantom-joint", "vqa-phantom-from-scratch", "vqa-phantom-from-hard_labels"}
    bases = ("vqa-phantom-pretrained", "pretrain-phantom-local", "pretrain-phantom")
    for name in set(runs) - alone - set(bases):
        base = next(base for base in bases if name.startswith(f"{base}-"))
        overlay = f"{name.removeprefix(f'{base}-')}.yaml"
        assert runs[name].words[:-1] == (*runs[base].words, "--config")
        assert Path(runs[name].words[-1]).name == overlay
        if name != "pretrain-phantom-local-hard_labels":  # labels are hard in both stages
            assert runs[name].after == runs[base].after
    starts = {name: run.after.name for name, run in runs.items() if run.after is not None}
    assert starts["pretrain-phantom-local"] == "pretrain-phantom"
    assert starts["vqa-phantom-pretrained"] == "pretrain-phantom-local"
    assert starts["pretrain-phantom-local-hard_labels"] == "pretrain-phantom-hard_labels"
    assert starts["vqa-phantom-from-hard_labels"] == "pretrain-phantom-local-hard_labels"
    assert not {"pretrain-phantom-joint", "vqa-phantom-from-scratch"} & set(starts)


def test_answers_are_generated_by_the_weights_of_another_run(calls: Calls, tmp_path: Path) -> None:
    found = calls("compositions", "--seeds", "1", "--set", "COMPOSED_VARIANTS=-without_gate")
    (line,) = [line for line in found if "answer_by generate" in line]
    trained = "vqa-phantom-compositional-without_gate"
    assert line.startswith("test ")
    assert f"--experiment {trained}-generated " in line
    assert line.endswith(f"--ckpt_path {tmp_path / trained}/clean/seed1/best.ckpt")


def test_some_runs_only_and_words_as_a_shell_takes_them(calls: Calls) -> None:
    found = calls("demo", "--only", "pretrain-phantom", "vqa-phantom-pretrained")
    assert set(experiments(found)) == {"pretrain-phantom", "vqa-phantom-pretrained"}
    (line, *_) = calls("reproduce", "--set", "data=slake", "--root", "a folder")
    assert shlex.split(line)[shlex.split(line).index("--data.init_args.root") + 1] == "a folder"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reproduce", "--set", "data=slake"], "needs --root FOLDER (of make: ROOT=FOLDER)"),
        (["reproduce", "--root=/x", "--set", "dta=x"], "no variable `dta`; did you mean `data`?"),
        (["reproduce", "--root=/x", "--set", "data=slkae"], "slkae.yaml does not exist; did you"),
        (["pretrain", "--set", "stage=lokal"], "lokal.yaml does not exist; did you mean"),
        (["demo", "--set", "data"], "write NAME=VALUE"),
        (["demo", "--only", "pretrain-fantom"], "did you mean `pretrain-phantom`?"),
    ],
)
def test_a_slip_is_one_sentence_and_runs_nothing(
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["sweep", f"experiments/sweep/{words[0]}.yaml", *words[1:]]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert len(printed.err.splitlines()) == 1
    assert "fit" not in printed.out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("runs:\n  - {name: a, config: [], afther: b}", r"runs\.0\.afther: Extra inputs"),
        ("runs:\n  - {name: a}", r"runs\.0\.config: Field required"),
        ("runs:\n  - {name: a, config: [], after: b}", "`after: b` names no earlier run"),
        ("runs:\n  - {name: a, config: [], then: tset}", "`then` is 'tset': give one of test"),
        ("runs:\n  - {name: a, config: ['vqa/{dta}']}", "names no variable of the sweep"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        plan(tmp_path / "a.yaml", {})


def test_values_are_filled_into_structures_and_empty_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "variables: {rad: , none: ''}\n"
        "runs:\n"
        "  - name: a[-{none}][-{size}]\n"
        "    config: ['{none}']\n"
        "    options: {parts: [{root: '{rad}'}], left: '{none}', steps: 3, every: null}\n"
    )
    (run,) = plan(tmp_path / "a.yaml", {"rad": 'a "b"'}).runs
    assert run.name == "a-tiny"
    options = ("--parts", '[{"root": "a \\"b\\""}]', "--steps", "3", "--every", "null")
    assert run.words == options


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], int]:
    """A sweep of one run whose every command is a program in Python."""

    def run(text: str) -> int:
        wait = sweep._wait
        monkeypatch.setattr(sweep, "_wait", lambda _: wait([sys.executable, "-c", text]))
        (tmp_path / "a.yaml").write_text("runs: [{name: a, config: []}]")
        return main(["sweep", str(tmp_path / "a.yaml"), "--runs", str(tmp_path)])

    return run


@pytest.mark.parametrize(
    ("code", "expected", "error"),
    [
        (3, 2, "error: `fit` ended with exit code 3 and the sweep stops"),
        (130, 130, ""),  # interrupted
        (143, 143, ""),  # terminated
    ],
)
def test_a_failing_command_stops_the_sweep(
    program: Callable[[str], int],
    code: int,
    expected: int,
    error: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program(f"raise SystemExit({code})") == expected
    printed = capsys.readouterr()
    assert printed.err.startswith(error)
    assert bool(printed.err) == bool(error)
    assert "amif_lightning test" not in printed.out


def test_sigterm_reaches_the_command_and_is_waited_for(program: Callable[[str], int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    text = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)"
    )
    assert program(text) == 143
    assert signal.getsignal(signal.SIGTERM) is before
