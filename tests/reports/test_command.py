from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import amif_lightning
from amif_lightning.cli import main as command_line
from amif_lightning.errors import UserError
from amif_lightning.reports.command import main

Writer = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def test_prints_the_report(write_run: Writer, tmp_path: Path, capsys: Capture) -> None:
    write_run(0)
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("VQARAD osf [clean, test], vqa-rad, 1 seed:")
    assert "## Results" in out
    assert "## Published numbers" not in out


def test_writes_files(write_run: Writer, tmp_path: Path, capsys: Capture) -> None:
    write_run(0)
    output, figure = tmp_path / "out" / "report.md", tmp_path / "out" / "scores.svg"
    options = ["--output", str(output), "--figure", str(figure), "--published"]
    assert main([str(tmp_path / "runs"), *options]) == 0
    out = capsys.readouterr().out
    assert "## Results" not in out
    assert str(output) in out
    assert str(figure) in out
    text = output.read_text(encoding="utf-8")
    assert text.split("\n")[0] == out.split("\n")[0]
    # Published numbers stand below our own, in a table of their own.
    assert text.index("## Results") < text.index("## Notes") < text.index("## Published numbers")
    assert figure.read_text(encoding="utf-8").rstrip().endswith("</svg>")


@pytest.mark.parametrize("name", ["", "missing"])
def test_nothing_found(tmp_path: Path, capsys: Capture, name: str) -> None:
    with pytest.raises(UserError, match=re.escape(str(tmp_path))) as caught:
        main([str(tmp_path / name)])
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_broken_record_is_named(write_run: Writer, tmp_path: Path, capsys: Capture) -> None:
    write_run(0)
    path = write_run(1)
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match=re.escape(str(path))):
        main([str(tmp_path)])
    assert capsys.readouterr().out == ""


def test_the_figure_must_be_svg(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    with pytest.raises(UserError, match=re.escape("end its name in .svg")):
        main([str(tmp_path), "--figure", str(tmp_path / "a.png")])


def test_the_entry_prints_its_errors_like_those_of_the_other_commands(
    tmp_path: Path, capsys: Capture
) -> None:
    assert command_line(["report", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    with pytest.raises(UserError):
        command_line(["report", str(tmp_path), "--debug"])


def test_options_are_not_abbreviated(tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), "--publ"])
    assert caught.value.code == 2
    assert "--publ" in capsys.readouterr().err


def test_the_report_is_quick_and_needs_no_framework(write_run: Writer, tmp_path: Path) -> None:
    for seed in range(3):
        write_run(seed, images=200)
        write_run(seed, images=200, experiment="other")
    program = (
        "import sys\n"
        "from amif_lightning.reports import command, predictions, provenance, record\n"
        f"code = command.main([{str(tmp_path)!r}, '--published', '--figure', "
        f"{str(tmp_path / 'a.svg')!r}])\n"
        "heavy = {'torch', 'lightning', 'pytorch_lightning', 'transformers', 'torchmetrics', "
        "'scipy', 'pandas', 'matplotlib', 'jsonargparse', 'data_modules'}\n"
        "found = sorted(heavy & set(sys.modules))\n"
        "sys.exit(code or (f'imported {found}' if found else 0))"
    )
    source = str(Path(amif_lightning.__file__).parents[1])
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
        check=False,
    )
    taken = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    assert taken < 5  # 0.5 s on an idle machine; an import of torch alone takes longer when busy
