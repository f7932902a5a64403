"""The dispatch: fast answers without torch, exit codes, and printed errors."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import amif_lightning
from amif_lightning.cli import entry, main
from amif_lightning.cli.entry import COMMANDS, TRAINER_COMMANDS, help_text
from amif_lightning.errors import UserError
from tests.cli.conftest import Main
from tests.fakes import write_image

ROOT = Path(__file__).parents[2]
PROBE = """
import sys
sys.path[:0] = {paths!r}
from amif_lightning.cli import main
code = main({argv!r})
heavy = {{"torch", "lightning", "jsonargparse"}} & set(sys.modules)
print("heavy:", sorted(heavy), "code:", code)
"""


@pytest.mark.parametrize("argv", [[], ["--help"], ["--version"], ["report", "runs"]], ids=str)
def test_answers_fast_and_without_torch(argv: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    code = PROBE.format(paths=[str(ROOT / "src"), str(ROOT)], argv=argv)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "heavy: []" in done.stdout, done.stderr
    # The processor's time, which other work on the machine hardly changes.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_bare_call_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert printed == 2 * help_text()
    assert printed.startswith("usage: ")


def test_the_static_help_is_that_of_the_parser(
    toy_main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning.pytorch.cli import LightningCLI

    assert set(TRAINER_COMMANDS) == set(LightningCLI.subcommands())
    assert set(re.findall(r"^  ([\w-]+) +\w", help_text(), flags=re.MULTILINE)) >= set(COMMANDS)
    options = set(re.findall(r"^  (--\w+) ", help_text(), flags=re.MULTILINE))
    assert options >= {"--config", "--ckpt_path", "--overwrite"}
    assert toy_main("fit", "--help") == 0
    printed = capsys.readouterr().out
    assert {option for option in options if option not in printed} == set()


def test_version_names_the_suite_and_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"amif-lightning {amif_lightning.__version__} (python 3.")
    assert "torch " in printed


def test_python_dash_m_runs_main(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "amif_lightning", "fti"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )
    assert done.returncode == 2
    assert done.stderr == "error: there is no command `fti`; did you mean `fit`?\n"


def test_an_option_before_the_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "x.yaml", "fit"]) == 2
    assert "write the command first" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--hel", "--vers", "fi", "tes"])
def test_no_abbreviations(word: str) -> None:
    assert main([word]) == 2


def _raise(error: BaseException) -> object:
    def dispatch(argv: list[str]) -> int:
        raise error

    return dispatch


WRAPPED = (
    "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
    'last):\n  File "x.py", line 1, in f\namif_lightning.errors.UserError: a.jpg is damaged.\n'
)


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (UserError("x.json lacks `qid`: add it."), 2, "error: x.json lacks `qid`: add it.\n"),
        (UserError(WRAPPED), 2, "error: a.jpg is damaged.\n"),  # of a loader's worker
        (KeyboardInterrupt(), 130, "interrupted: run the same command again\n"),
    ],
)
def test_exit_codes_and_messages(
    error: BaseException,
    code: int,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(entry, "_dispatch", _raise(error))
    assert main(["fit"]) == code
    assert capsys.readouterr().err == printed


def test_bugs_and_debug_keep_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "_dispatch", _raise(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        main(["fit"])
    monkeypatch.setattr(entry, "_dispatch", _raise(UserError("x")))
    with pytest.raises(UserError):
        main(["fit", "--debug"])
    monkeypatch.setenv("AMIF_DEBUG", "1")
    with pytest.raises(UserError):
        main(["fit"])


def test_the_console_script_finds_the_class_of_the_documents(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "my_data.py").write_text(program, encoding="utf-8")
    for place in range(3):
        write_image(tmp_path / "scans" / f"{place}.png", place)
        (tmp_path / "scans" / f"{place}.txt").write_text(f"is it {place}? = yes\nwhere? = left\n")
    # Python puts the script's folder into sys.path, and not the current one.
    script = tmp_path / "bin" / "amif-lightning"
    script.parent.mkdir()
    script.write_text("import sys\nfrom amif_lightning.cli import main\nsys.exit(main())\n")
    words = ["audit", "--data", "my_data.MyQA", "--data.root", "scans", "--data.tokenizer", "words"]
    done = subprocess.run(
        [sys.executable, str(script), *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^released train +6 +3 +2$", done.stdout, flags=re.MULTILINE), done.stdout
