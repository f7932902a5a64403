from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import amif_lightning
from amif_lightning.cli.commands.report import main
from amif_lightning.errors import UserError
from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.records.run import Hardware
from amif_lightning.reports.render.comparisons import MAX_ALL_PAIRS
from tests.reports.conftest import edit

Writer = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def test_both_kinds_are_in_one_report(
    write_run: Writer, write_search: Writer, tmp_path: Path, capsys: Capture
) -> None:
    write_run(0)
    write_search(0)
    output, figure = tmp_path / "out" / "report.md", tmp_path / "out" / "scores.svg"
    main([str(tmp_path), "--output", str(output), "--figure", str(figure), "--published"])
    out = capsys.readouterr().out
    assert "## Results" not in out
    assert str(output) in out
    assert str(figure) in out
    text = output.read_text(encoding="utf-8")
    assert [line.split(" ")[0] for line in text.split("\n\n")[:2]] == ["VQARAD", "Phantom"]
    assert re.findall("^## (.*)", text, re.MULTILINE) == [
        "Results",
        "Image-text retrieval",
        "Notes",
        "Published numbers",
    ]
    drawn = figure.read_text(encoding="utf-8")
    assert drawn.rstrip().endswith("</svg>")
    assert "vqa-rad" in drawn
    assert "Phantom" in drawn


def test_searches_alone(write_search: Writer, tmp_path: Path, capsys: Capture) -> None:
    write_search(0)
    figure = tmp_path / "scores.svg"
    assert main([str(tmp_path), "--figure", str(figure)]) == 0
    assert "## Results" not in capsys.readouterr().out
    assert "<title>Image-text retrieval</title>" in figure.read_text(encoding="utf-8")


def test_the_baseline_picks_the_pairs_of_both_kinds(
    write_run: Writer, write_search: Writer, tmp_path: Path, capsys: Capture
) -> None:
    for name, accuracy, skill in (("base", 0.6, 1.5), ("same", 0.6, 1.5), ("worse", 0.2, 0.0)):
        write_run(0, experiment=name, accuracy=accuracy)
        write_search(0, experiment=name, skill=skill)
    main([str(tmp_path), "--baseline", "base", "--details"])
    text = capsys.readouterr().out
    verdicts = [line for line in text.splitlines() if "the baseline base" in line]
    assert [line.split("], ")[1].split(": ")[0] for line in verdicts] == ["same", "worse"] * 2
    for same, worse in (verdicts[:2], verdicts[2:]):
        assert "no evidence of a difference from the baseline base: 0.0 points of " in same
        assert "BELOW the baseline base (95 % interval -" in worse
    assert not re.search(r"\| same +\| worse", text)
    main([str(tmp_path), "--details"])
    assert re.search(r"\| same +\| worse", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--baseline", "full"], r"--baseline full: no record .* one of vqa-rad"),
        (["--figure", "a.png"], r"end its name in \.svg"),
        (["--html", "a.md"], r"end its name in \.html"),
        (["--no-images"], r"--no-images needs --html FILE\.html"),
        (["--published"], r"--published needs --details, --output FILE or --html FILE\.html"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    write_run: Writer, tmp_path: Path, capsys: Capture, words: list[str], message: str
) -> None:
    write_run(0)
    with pytest.raises(UserError, match=message):
        main([str(tmp_path), *words])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["", "missing"])
def test_nothing_found(tmp_path: Path, capsys: Capture, name: str) -> None:
    with pytest.raises(UserError, match=re.escape(str(tmp_path))) as caught:
        main([str(tmp_path / name)])
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_broken_record_is_named_and_makes_no_page(
    write_run: Writer, tmp_path: Path, capsys: Capture
) -> None:
    write_run(0)
    path = write_run(1)
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match=re.escape(str(path))):
        main([str(tmp_path), "--html", str(tmp_path / "a.html")])
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "a.html").exists()


def test_the_page_is_written_besides_the_markdown(
    write_run: Writer, tmp_path: Path, capsys: Capture
) -> None:
    for experiment in ("vqa-rad", "other"):
        write_run(0, experiment=experiment)
    file = tmp_path / "out" / "report.html"
    main([str(tmp_path), "--html", str(file), "--no-images"])
    out = capsys.readouterr().out
    assert "VQARAD osf [clean," in out
    assert "## Results" not in out
    assert f"\nPage written to {file}.\nNext:\n" in out
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "Images were left out of this page (--no-images)." in text
    assert "Published numbers" not in text
    main([str(tmp_path), "--html", str(file), "--published", "--baseline", "vqa-rad"])
    text = file.read_text(encoding="utf-8")
    assert "Published numbers" in text
    assert "--no-images" not in text
    assert "with 95 % intervals; on the right the difference from the baseline vqa-rad" in text
    words = f"report {tmp_path} --html {file} --published --baseline vqa-rad"
    assert f"<code>python -m amif_lightning {words}</code>" in text
    assert [path.name for path in file.parent.iterdir()] == ["report.html"]


HOSTILE = "\x1b[2J\x1b]0;x\r\u202e|`x`<script>![a](http://b)\n# forged"


def test_text_of_records_cannot_control_a_terminal_or_forge_markdown(
    write_run: Writer, write_search: Writer, tmp_path: Path, capsys: Capture
) -> None:
    hostile: dict[str, Any] = {
        "dataset": HOSTILE,
        "layout": HOSTILE,
        "warnings": (HOSTILE,),
        "config": {HOSTILE: HOSTILE},
        "versions": {"torch": HOSTILE},
        "hardware": Hardware(cpu=HOSTILE, cores=1, memory_gib=None),
    }
    write_run(0, **hostile, majority_answer=HOSTILE)
    write_search(0, **hostile)
    for path in tmp_path.rglob("result-test.json"):
        edit(path, "experiment", HOSTILE)
    files = [tmp_path / name for name in ("a.md", "a.svg", "a.html")]
    words = [
        part
        for f in files
        for part in (f"--{'figure' if f.suffix == '.svg' else f.suffix[1:]}", str(f))
    ]
    words[0] = "--output"
    main([str(tmp_path), "--details"])
    main([str(tmp_path), "--summary"])
    printed = capsys.readouterr().out
    main([str(tmp_path), *words])
    overview = capsys.readouterr().out
    assert all(line.isprintable() for line in overview.split("\n"))
    texts = [printed, *(file.read_text(encoding="utf-8") for file in files)]
    for text in texts:
        assert "\\u001b[2J\\u001b]0;x" in text
        assert all(line.isprintable() for line in text.replace("\u00a0", " ").split("\n"))
        assert not re.search(r"(?<!\\)<script", text)
    for text in texts[:2]:
        assert "# forged" not in [line[:8] for line in text.split("\n")]
        assert not re.search(r"(?<!\\)(?:`x|\|\\`)|\]\(", text)
    rows = [line for line in texts[0].split("\n") if line.startswith("|")]
    assert len(rows) >= 6
    for row, other in pairwise(rows):
        same = len(row) == len(other)
        assert not same or len(re.findall(r"(?<!\\)\|", row)) == len(
            re.findall(r"(?<!\\)\|", other)
        )


def test_many_configurations_are_compared_on_request_only(
    write_run: Writer, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    bootstrap = statistics.bootstrap_difference

    def counted(*arguments: Any) -> Any:
        made.append(arguments)
        return bootstrap(*arguments)

    monkeypatch.setattr(statistics, "bootstrap_difference", counted)
    for number in range(MAX_ALL_PAIRS + 1):
        write_run(0, experiment=f"x{number:02d}", images=10, per_image=3)
        if number == MAX_ALL_PAIRS - 1:
            main([str(tmp_path), "--details"])
            assert "## Comparisons" in capsys.readouterr().out
            assert len(made) == 3 * 190  # three subsets have 30 questions
            made.clear()
    main([str(tmp_path), "--details"])
    assert (
        "Nothing is compared on VQARAD test, because 21 configurations have 210 pairs: choose "
        in (capsys.readouterr().out)
    )
    assert not made
    main([str(tmp_path), "--baseline", "x00", "--details"])
    assert "Nothing is compared" not in capsys.readouterr().out
    assert len(made) == 3 * 20  # grows with the number of configurations, not with its square


def test_the_overview_fits_a_terminal_and_names_what_to_call_next(
    write_run: Writer, write_search: Writer, tmp_path: Path, capsys: Capture
) -> None:
    path = write_run(0, experiment="long_" * 30, accuracy=0.7)
    search = write_search(0)
    main([str(tmp_path)])
    table, following = capsys.readouterr().out.split("\nNext:\n")
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    verdict = lines[0].index("verdict")
    column = "".join(line[verdict:].strip() + " " for line in lines)
    assert "evidence that the images were used" in column
    assert "evidence that image and text were aligned" in column
    names = "".join(line[: lines[0].index("score")].strip() for line in lines)
    assert "long_" * 30 in names
    assert "VQARAD osf [clean," in names
    assert [line.split()[3] for line in following.splitlines() if "amif" in line] == ["report"] * 2
    (search.parent / "best.ckpt").touch()  # cannot answer
    main([str(tmp_path)])
    assert "demo" not in capsys.readouterr().out
    (path.parent / "best.ckpt").touch()
    main([str(tmp_path)])
    assert f"demo --ckpt_path {path.parent / 'best.ckpt'}" in capsys.readouterr().out


def test_options_are_not_abbreviated(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unrecognized arguments: --publ;"):
        main([str(tmp_path), "--publ"])


def test_the_report_is_quick_and_needs_no_framework(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for seed in range(3):
        path = write_search(seed, studies=120)
        EventFileWriter(str(path.parent)).close()  # the page reads it
        write_search(seed, studies=120, experiment="other")
        write_run(seed, images=200)
        write_run(seed, images=200, experiment="other")
    program = (
        "import sys\n"
        "from amif_lightning.cli.commands import report\n"
        "from amif_lightning.reports.records import answering, provenance, store\n"
        f"code = report.main([{str(tmp_path)!r}, '--published', '--details', '--figure', "
        f"{str(tmp_path / 'a.svg')!r}, '--html', {str(tmp_path / 'a.html')!r}])\n"
        "heavy = {'torch', 'lightning', 'pytorch_lightning', 'transformers', 'torchmetrics', "
        "'pandas', 'matplotlib.pyplot', 'tensorflow', 'jsonargparse', 'data_modules'}\n"
        "found = sorted(heavy & set(sys.modules))\n"
        "sys.exit(code or (f'imported {found}' if found else 0))"
    )
    source = str(Path(amif_lightning.__file__).parents[1])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The processor's time, which other work on the machine hardly changes.
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stderr
    assert taken < 10  # 2 s on an idle machine
