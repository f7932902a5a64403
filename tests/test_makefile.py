"""The Makefile's help and its loop over seeds, with the command line replaced by an echo."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make as if the virtual environment were up to date, and never on the checkout's runs."""
    # Nothing can lie below a file; a word that names another folder comes later and holds.
    runs = f"RUNS={os.devnull}/runs"
    command = ["make", "--no-print-directory", "-o", ".venv/.installed", runs, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def calls(*words: str) -> list[str]:
    """The command lines that a target runs, as `COMMAND options`."""
    done = make(*words, "AMIF=echo CALL")
    assert done.returncode == 0, done.stderr
    return [line[5:] for line in done.stdout.splitlines() if line.startswith("CALL ")]


def test_bare_make_lists_every_target() -> None:
    phony = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    listed = re.findall(r"^  (\S+) +\S", make().stdout, flags=re.MULTILINE)
    assert {"demo", "test", "test-all", "ddp", "reproduce-vqa-med"} <= set(phony)
    assert set(phony) <= set(listed)


def left_behind(folder: Path, *names: str) -> None:
    """A run folder as an earlier call left it."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def checkpoints(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Each call's command, and the checkpoint that it is given."""
    return [(line.split()[0], re.findall(r"--ckpt_path (\w+)", line)) for line in lines]


def test_a_seed_is_skipped_resumed_or_started(tmp_path: Path) -> None:
    left = {0: ("result-test.json",), 1: ("last.ckpt", "best.ckpt"), 2: ("best.ckpt",)}
    for seed, names in left.items():
        left_behind(tmp_path / "vqa_rad-tiny" / "clean" / f"seed{seed}", *names)
    words = ("reproduce-vqa-rad", "ROOT=x", "SEEDS=0 1 2 3", "EXTRA=--trainer.max_epochs 1")
    found = calls(*words, f"RUNS={tmp_path}")
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


def fits_of(found: list[str]) -> dict[str, str]:
    """The command line of each experiment's training."""
    return {
        re.findall(r"--experiment (\S+)", line)[0]: line for line in found if line[:4] == "fit "
    }


def start_of(line: str, runs: Path) -> str | None:
    """The run whose checkpoint one starts from; None from random weights."""
    starts = re.findall(r"--model.init_args.init_from (\S+)", line)
    return str(Path(starts[0]).relative_to(runs)) if starts else None


def test_the_demo_aligns_matches_and_answers_from_one_to_the_next(tmp_path: Path) -> None:
    left_behind(tmp_path / "pretrain-phantom" / "clean" / "seed1", "result-test.json", "best.ckpt")
    found = calls("demo", f"RUNS={tmp_path}", "SEEDS=0 1")
    assert checkpoints(found) == [("fit", []), ("test", ["best"])] * 5 + [("report", [])]
    stages = [re.findall(r"--experiment (\S+)", line)[0] for line in found[:-1:2]]
    whole = ["pretrain-phantom", "pretrain-phantom-local", "vqa-phantom-pretrained"]
    assert stages == whole + whole[1:]
    for line, seed, before in zip(
        found[2:-1:2], (0, 0, 1, 1), (whole[0], whole[1]) * 2, strict=True
    ):
        assert start_of(line, tmp_path) == f"{before}/clean/seed{seed}/best.ckpt"


def test_pretraining_is_left_out_where_its_fine_tuning_is_finished(tmp_path: Path) -> None:
    words = ("compare-pretraining-vqa-med", f"RUNS={tmp_path}", "ROOT=x", "SEEDS=0")
    first = [re.findall(r"--experiment (\S+)", line)[:1] for line in calls(*words)]
    stages = ["pretrain-vqa_med_2019-tiny"] + ["vqa_med_2019-tiny-pretrained"] * 2
    stages += ["vqa_med_2019-tiny-scratch"] * 2
    assert first == [*([stage] for stage in stages), []]
    left_behind(tmp_path / "vqa_med_2019-tiny-pretrained/clean/seed0", "result-validation.json")
    again = [re.findall(r"--experiment (\S+)", line)[:1] for line in calls(*words)]
    assert again == [["vqa_med_2019-tiny-scratch"]] * 2 + [[]]


def test_every_report_is_also_a_page_beside_its_runs(tmp_path: Path) -> None:
    for words, folder in (
        (["report", "REPORT=--published --no-images"], tmp_path),
        (["demo"], tmp_path),
        (["ablations"], tmp_path),
        (["reproduce-vqa-rad", "ROOT=x"], tmp_path / "vqa_rad-tiny"),
    ):
        last = calls(*words, f"RUNS={tmp_path}")[-1]
        assert last.startswith(f"report {folder} --html {folder}/report.html"), words
        assert ("--published --no-images" in last) == (words[0] == "report")
        assert ("--baseline pretrain-phantom" in last) == (words[0] == "ablations")


def test_a_split_has_its_own_folder(tmp_path: Path) -> None:
    """With SPLIT=test the released validation set chooses the checkpoint, so none is shared."""
    for split in ("validation", "test"):
        found = calls("reproduce-vqa-med", f"RUNS={tmp_path}", "ROOT=a folder", f"SPLIT={split}")
        assert [line.split()[0] for line in found] == ["fit", "test", "report"]
        for line in found[:2]:
            assert f"--experiment vqa_med_2019-tiny-{split} " in line
            assert f"--data.init_args.root a folder --data.init_args.test_split {split}" in line
        folder = tmp_path / f"vqa_med_2019-tiny-{split}" / "clean" / "seed0"
        folder.mkdir(parents=True)
        (folder / f"result-{split}.json").touch()
        again = calls("reproduce-vqa-med", f"RUNS={tmp_path}", "ROOT=x", f"SPLIT={split}")
        assert [line.split()[0] for line in again] == ["report"]


def test_tensorboard_is_for_this_machine_alone() -> None:
    said = make("-n", "tensorboard", "PORT=6107", "RUNS=a folder").stdout
    assert "http://127.0.0.1:6107/" in said
    (line,) = [line for line in said.splitlines() if "bin/tensorboard" in line]
    assert line.endswith('--logdir "a folder" --host 127.0.0.1 --port 6107')


def test_the_protocol_names_the_folder_and_the_option(tmp_path: Path) -> None:
    words = ("reproduce-vqa-rad", f"RUNS={tmp_path}", "ROOT=x", "PROTOCOL=literature")
    assert "--data.init_args.protocol literature" in calls(*words)[0]


ANSWERING = {
    "vqa-rad": "vqa_rad",
    "slake": "slake",
    "path-vqa": "path_vqa",
    "vqa-med": "vqa_med_2019",
}


@pytest.mark.parametrize("name", ANSWERING)
def test_every_table_has_its_size_split_protocol_and_start(name: str, tmp_path: Path) -> None:
    split = () if name == "vqa-rad" else ("SPLIT=validation",)
    words = (f"reproduce-{name}", f"RUNS={tmp_path}", "ROOT=/x", "SEEDS=3 5", *split)
    given = ("SIZE=base", "PROTOCOL=literature", "INIT_FROM=/pre.ckpt")
    found = calls(*words, *given)
    assert [line.split()[0] for line in found] == ["fit", "test"] * 2 + ["report"]
    data = ANSWERING[name]
    for line in found[:4]:
        assert f"--config experiments/vqa/{data}.yaml --config experiments/size/base.yaml " in line
        assert "tiny" not in line
        assert "--data.init_args.protocol literature " in line
        assert "--model.init_args.init_from /pre.ckpt " in line
        assert ("--data.init_args.test_split validation " in line) == bool(split)
        experiment = f"{data}-base{'-validation' if split else ''}-pretrained"
        assert f"--experiment {experiment} " in line
    folder = f"{tmp_path}/{experiment}"
    assert found[4] == f"report {folder} --html {folder}/report.html"


def test_vqa_rad_has_one_split() -> None:
    done = make("reproduce-vqa-rad", "ROOT=/x", "SPLIT=validation", "AMIF=echo CALL")
    assert done.returncode != 0
    assert "VQA-RAD has no validation set" in done.stderr
    assert "CALL" not in done.stdout


@pytest.mark.parametrize(
    ("corpus", "root", "then"),
    [
        ("mixture", "", ["test", "report"]),
        ("roco", "--data.init_args.root /x", ["test", "report"]),
        (
            "vqa_med_2019",
            "--data.init_args.source.init_args.root /x",
            ["validate"],
        ),  # no test split
    ],
)
def test_pretraining_of_a_corpus(corpus: str, root: str, then: list[str], tmp_path: Path) -> None:
    given = ["ROOT=/x"] if root else []
    words = ("reproduce-pretrain", f"RUNS={tmp_path}", *given, f"CORPUS={corpus}")
    found = calls(*words, "SIZE=base")
    assert [line.split()[0] for line in found] == ["fit", *then]
    assert found[0].split(" --runs")[0].strip() == (
        f"fit --config experiments/pretrain/{corpus}.yaml {root}".strip()
    )
    assert "--config experiments/size/tiny.yaml" in calls(*words)[0]
    assert "CORPUS is one of: " in make("reproduce-pretrain", "CORPUS=none").stderr
    refused = make("reproduce-pretrain", "CORPUS=mixture", "ROOT=/x", "AMIF=echo CALL")
    assert "CORPUS=mixture has no ROOT" in refused.stderr
    assert "CALL" not in refused.stdout


def test_studies_have_one_protocol(tmp_path: Path) -> None:
    """Their runs always lie in `clean`, and only there can a finished one be found."""
    run = tmp_path / "pretrain-roco-tiny" / "clean" / "seed0"
    run.mkdir(parents=True)
    (run / "result-test.json").touch()
    words = ("reproduce-pretrain", f"RUNS={tmp_path}", "ROOT=/x", "CORPUS=roco")
    found = calls(*words, "PROTOCOL=literature")
    assert [line.split()[0] for line in found] == ["report"]


def test_an_apostrophe_in_a_folder_reaches_the_command(tmp_path: Path) -> None:
    words = ("compare-mixture", f"RUNS={tmp_path}/it's", "VQA_RAD=/it's", "VQA_MED=/y", "SEEDS=0")
    said = make(*words, "AMIF=echo CALL").stdout  # of runs that are not there nothing is measured
    parts = [line for line in said.splitlines() if "data.init_args.parts" in line]
    assert all('"root": "/it\'s"' in line for line in parts)
    assert parts
    done = make("reproduce-vqa-rad", f"RUNS={tmp_path}/it's", "ROOT=/it's", "AMIF=echo CALL")
    assert done.returncode == 0
    assert f'make tensorboard RUNS="{tmp_path}/it\'s"' in done.stdout


def test_pretraining_in_two_stages(tmp_path: Path) -> None:
    words = ("reproduce-pretrain", f"RUNS={tmp_path}", "ROOT=/x", "CORPUS=roco", "SIZE=base")
    first, second = (
        calls(*words, *more)[0]
        for more in (("STAGE=global",), ("STAGE=local", "INIT_FROM=/first stage/best.ckpt"))
    )
    assert "--config experiments/stage/global.yaml " in first
    assert "--experiment pretrain-roco-base-global " in first
    assert "init_from" not in first
    assert "--config experiments/stage/local.yaml " in second
    assert "--experiment pretrain-roco-base-local-pretrained " in second
    assert "--model.init_args.init_from /first stage/best.ckpt " in second
    assert "STAGE is global or local" in make(*words, "STAGE=joined").stderr


def test_ablations_differ_in_one_overlay_and_start_from_one_checkpoint(tmp_path: Path) -> None:
    answering = "ANSWERING_ABLATIONS=$(ANSWERING_PARTS)"
    found = calls("ablations", f"RUNS={tmp_path}", "SEEDS=2", answering)
    fits = fits_of(found)
    assert len(fits) == (1 + 5) + (1 + 4 + 1) + 1 + (3 + 4)
    bases = {
        "vqa-phantom-pretrained": ("vqa", "pretrain-phantom-local"),
        "pretrain-phantom-local": ("pretrain", "pretrain-phantom"),
        "pretrain-phantom": ("pretrain", None),
    }
    alone = {"pretrain-phantom-joint", "vqa-phantom-from-scratch", "vqa-phantom-from-hard_labels"}
    for name in set(fits) - alone - set(bases):
        base = next(base for base in bases if name.startswith(f"{base}-"))
        folder, start = bases[base]
        overlay = f"experiments/ablation/{folder}/{name.removeprefix(f'{base}-')}.yaml"
        assert (ROOT / overlay).is_file()
        line = fits[name].replace(f"--config {overlay} ", "").replace(name, base)
        if name == "pretrain-phantom-local-hard_labels":  # labels are hard in both stages
            line = line.replace("pretrain-phantom-hard_labels", "pretrain-phantom")
        assert line == fits[base]
        expected = None if start is None else f"{start}/clean/seed2/best.ckpt"
        assert start_of(fits[base], tmp_path) == expected
    scratch = re.sub(r"--trainer.max_steps \d+ ", "", fits["vqa-phantom-from-scratch"])
    assert " ".join(scratch.split()) == " ".join(
        re.sub(r"--model.init_args.init_from \S+", "", fits["vqa-phantom-pretrained"])
        .replace("vqa-phantom-pretrained", "vqa-phantom-from-scratch")
        .split()
    )
    assert start_of(fits["pretrain-phantom-joint"], tmp_path) is None
    assert start_of(fits["vqa-phantom-from-hard_labels"], tmp_path) == (
        "pretrain-phantom-local-hard_labels/clean/seed2/best.ckpt"
    )
    assert found[-1].endswith(
        "--baseline pretrain-phantom --baseline pretrain-phantom-local "
        "--baseline vqa-phantom-pretrained"
    )


def test_ablations_of_a_finished_seed_do_nothing_more(tmp_path: Path) -> None:
    runs = f"RUNS={tmp_path / 'runs'}"
    assert len(fits_of(calls("ablations", "SEEDS=0", runs))) == 16  # without parts of answering
    for name in fits_of(calls("ablations", "SEEDS=0", runs)):
        left_behind(tmp_path / "runs" / name / "clean" / "seed0", "result-test.json")
    found = calls("ablations", "SEEDS=0", runs)
    assert [line.split()[0] for line in found] == ["report"]


def test_compositions_train_every_combination_and_write_with_the_same_weights(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    found = calls("compositions", f"RUNS={runs}", "SEEDS=1")
    fits = fits_of(found)
    base = "vqa-phantom-compositional"
    written = {
        re.findall(r"--experiment (\S+)", line)[0]: line
        for line in found
        if "answer_by generate" in line
    }
    answering = {name for name in fits if name.startswith(base)}
    assert len(answering) == 5
    assert set(written) == {f"{name}-generated" for name in answering}
    for name in answering:
        parts = [part for part in name.removeprefix(base).split("-") if part]
        overlays = [f"experiments/ablation/vqa/{part}.yaml" for part in ("compositional", *parts)]
        assert all((ROOT / overlay).is_file() for overlay in overlays)
        line = written[f"{name}-generated"]
        assert line.startswith("test ")
        assert line.endswith(f"--ckpt_path {runs / name}/clean/seed1/best.ckpt")
        for given in (fits[name], line):
            assert re.findall(r"--config (\S+)", given)[1:] == overlays
        assert start_of(fits[name], runs) == "pretrain-phantom-local/clean/seed1/best.ckpt"
    for name in {*fits, *written}:
        left_behind(runs / name / "clean" / "seed1", "result-test.json")
    found = calls("compositions", f"RUNS={runs}", "SEEDS=1")
    assert [line.split()[0] for line in found] == ["report"]


def test_ablations_of_a_data_set_on_disk(tmp_path: Path) -> None:
    words = ("ablations", f"RUNS={tmp_path}", "DATA=vqa_med_2019", "SEEDS=0")
    assert "make ablations ROOT=FOLDER" in make(*words, "AMIF=echo CALL").stderr
    found = calls(*words, "ROOT=/x", "PROTOCOL=literature")
    assert [line.split()[0] for line in found] == ["fit", "test"] * 5 + ["report"]
    for line in found[:-1]:
        assert "--data.init_args.root /x --data.init_args.test_split validation" in line
        assert "--experiment vqa_med_2019-tiny-validation" in line
        assert "--data.init_args.protocol literature" in line
    assert len({re.findall(r"--experiment (\S+)", line)[0] for line in found[:-1]}) == 5


def test_an_ablation_joins_several_overlays(tmp_path: Path) -> None:
    variants = "without_knowledge pointer_loss-without_gate"
    found = calls(
        *("ablations", f"RUNS={tmp_path}", "DATA=vqa_rad", "SEEDS=0", "ROOT=/x"),
        f"ANSWERING_ABLATIONS={variants}",
    )
    for name in variants.split():
        (fit, test) = [line for line in found if f"--experiment vqa_rad-tiny-{name} " in line]
        overlays = [f"experiments/ablation/vqa/{part}.yaml" for part in name.split("-")]
        for line in (fit, test):
            assert re.findall(r"--config (\S+/ablation/\S+)", line) == overlays


@pytest.mark.parametrize("target", [f"reproduce-{name}" for name in ANSWERING])
def test_the_folder_of_a_data_set_is_asked_for(target: str) -> None:
    done = make(target, "AMIF=echo CALL")
    assert done.returncode != 0
    assert f"make {target} ROOT=FOLDER" in done.stderr
    assert "CALL" not in done.stdout


def test_a_failing_fit_stops_the_loop(tmp_path: Path) -> None:
    done = make("demo", f"RUNS={tmp_path}", "SEEDS=0 1", "AMIF=false")
    assert done.returncode != 0
    assert "test" not in done.stdout.replace(str(tmp_path), "")


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


def test_every_config_that_the_makefile_names_exists() -> None:
    text = (ROOT / "Makefile").read_text().replace("$(SIZE)", "tiny")
    lists = {
        "ablation/pretrain/$$variant": ("GLOBAL_ABLATIONS", "LOCAL_ABLATIONS"),
        "ablation/vqa/$$part": ("ANSWERING_PARTS", "COMPOSED_VARIANTS"),
    }
    named = set(re.findall(r"experiments/([\w/$]+)\.yaml", text))
    assert set(lists) < named
    for pattern, variables in lists.items():
        named.remove(pattern)
        for variable in variables:
            (values,) = re.findall(rf"^{variable} \?= (.*)$", text, flags=re.MULTILINE)
            parts = re.findall(r"\w+", values)
            named |= {re.sub(r"\$\$\w+", part, pattern) for part in parts}
    named = {name for name in named if "$(" not in name and "$" not in name}
    assert len(named) > 12
    assert {name for name in named if not (ROOT / f"experiments/{name}.yaml").is_file()} == set()


def test_a_mixture_trains_as_long_as_its_parts_alone(tmp_path: Path) -> None:
    words = ("compare-mixture", "VQA_RAD=/rad", "VQA_MED=/med", "SEEDS=4", f"RUNS={tmp_path}")
    done = make("-n", *words)
    assert done.returncode == 0, done.stderr
    fits = [line for line in done.stdout.splitlines() if "amif_lightning fit" in line]
    assert len(fits) == 3
    assert len({re.findall(r"max_steps (\d+)", line)[0] for line in fits}) == 1
    parts = re.findall(r"parts '(.*?)' --runs", fits[2])
    assert [part["init_args"]["root"] for part in json.loads(parts[0])] == ["/rad", "/med"]
    assert done.stdout.count("measures/validation.py") == 2


def test_a_mixture_needs_both_folders() -> None:
    assert "give both folders" in make("compare-mixture", "VQA_RAD=/rad").stderr
