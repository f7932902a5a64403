"""Two processes on the CPU give the same gradients, logs, answers and records as one."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.cli import main
from amif_lightning.reports.records.answering import PredictionLine, ResultRecord
from amif_lightning.reports.records.retrieval import RetrievalRecord
from amif_lightning.reports.records.run import read_record
from amif_lightning.reports.records.schema import read_lines
from tests.processes import phantom_folder, phantom_words, python
from tests.two_processes import FirstStep, first_step

pytestmark = pytest.mark.ddp

ANSWERING = ("vqa/phantom.yaml",)
PRETRAINING = ("pretrain/phantom.yaml", "hardware/ddp.yaml")
#: Losses of the suite and of the released code; then other tokens, stage global, and reports
#: without words to transport.
FAST = ("answering", "pretraining", "released")
SLOW = ("auxiliary", "contextual", "fused", "matched", "silent")
QUESTIONS = ("answering", "auxiliary")
TWO = ("--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp")
ONE = ("--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto")
MIXED = (
    "--trainer.precision=bf16-mixed",
    "--trainer.accumulate_grad_batches=2",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.val_check_interval=2",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave: a ``fit`` and a ``test`` of both stages, and first steps."""
    base = phantom_folder(tmp_path_factory.mktemp("two"))
    fit = phantom_words(base, ANSWERING, "fit", "answering", *TWO, *MIXED)
    assert "MEMBER: 2/2" in python("-m", "amif_lightning", *fit)
    commands = (
        phantom_words(base, ANSWERING, "test", "answering", "--ckpt_path=best", *TWO),
        phantom_words(base, PRETRAINING, "fit", "pretraining", *TWO, *MIXED),
        phantom_words(base, PRETRAINING, "test", "pretraining", "--ckpt_path=best", *TWO),
    )
    words = [word for command in commands for word in ("--", *command)]
    paths = (str(base / "phantom"), str(base))
    python("-m", "tests.two_processes", ",".join(FAST), *paths, *words)
    return base


@pytest.fixture(scope="module")
def slow_folder(folder: Path) -> Path:
    """The folder with the first steps of the other variants."""
    paths = (str(folder / "phantom"), str(folder))
    python("-m", "tests.two_processes", ",".join(SLOW), *paths)
    return folder


@pytest.fixture(
    scope="module", params=[*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def two(request: pytest.FixtureRequest, variant: str) -> list[dict[str, Any]]:
    """What each of two processes kept of the first step."""
    path = request.getfixturevalue("folder" if variant in FAST else "slow_folder")
    kept: list[dict[str, Any]] = torch.load(path / f"{variant}.pt", weights_only=True)
    return kept


@pytest.fixture(scope="module")
def one(folder: Path, two: list[dict[str, Any]], variant: str) -> FirstStep:
    return first_step(variant, folder / "phantom", 1)


def run_folder(folder: Path, experiment: str) -> Path:
    return folder / "runs" / experiment / "clean" / "seed0"


@pytest.mark.parametrize("stage", ["answering", "pretraining"])
def test_fit_writes_one_run_folder_and_counts_accumulated_steps_once(
    folder: Path, stage: str
) -> None:
    trained = run_folder(folder, stage)
    assert {"best.ckpt", "last.ckpt", "config.yaml"} <= {p.name for p in trained.iterdir()}
    last = torch.load(trained / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4
    assert bool(last["answer_space"]["image_limit"]) == (stage == "answering")


def test_both_processes_draw_the_negatives_of_one(
    two: list[dict[str, Any]], one: FirstStep, variant: str
) -> None:
    assert two[0]["drawn"] | two[1]["drawn"] == one.drawn
    # Transport of unfused tokens and matching draw apart; the matched transport draws nothing.
    single, none = ("released", "fused"), (*QUESTIONS, "matched")
    draws = 0 if variant in none else 1 if variant in single else 2
    assert len(one.drawn) == 8 * draws
    # Some of them came from the other process.
    own = {key.split("/")[1] for key in two[0]["drawn"]}
    foreign = [str(s) not in own for pair in two[0]["drawn"].values() for s in pair]
    assert any(foreign) == bool(draws)


@pytest.mark.slow
def test_processes_with_unequal_numbers_of_pairs_are_among_them(slow_folder: Path) -> None:
    """Else a mean of means would be as good as the mean."""
    shares = torch.load(slow_folder / "silent.pt", weights_only=True)
    spoken = [sum(share["spoken"]) for share in shares]
    assert spoken[0] != spoken[1]
    assert 0 < sum(spoken) < 8


def test_every_gradient_is_that_of_one_process_with_the_whole_batch(
    two: list[dict[str, Any]], one: FirstStep, variant: str
) -> None:
    first, second = (share["samples"] for share in two)
    assert sorted(first + second) == sorted(one.samples)
    assert (len(first) != len(second)) == (variant in QUESTIONS)
    for share in two:
        assert share["gradient"].keys() == one.gradient.keys()
        for name, gradient in one.gradient.items():
            given = share["gradient"][name]
            # Sums of float32: the rest of a sum that cancels has the error of its terms.
            error = 2e-5 * max(1.0, float(gradient.abs().max()))
            torch.testing.assert_close(given, gradient, rtol=1e-4, atol=error, msg=name)
    parts = {name.split(".")[0] for name, g in one.gradient.items() if float(g.abs().sum()) > 1e-3}
    rest = {
        "answering": {"knowledge", "decoder", "tags"},
        "auxiliary": {"knowledge", "decoder", "alignment"},
        "matched": {"alignment"},
    }
    assert parts == {"vision", "text", "fusion"} | rest.get(variant, {"alignment", "matching_head"})


@pytest.mark.parametrize("stage", ["train", "val"])
def test_both_processes_log_the_values_of_one(
    two: list[dict[str, Any]], one: FirstStep, variant: str, stage: str
) -> None:
    if stage == "val" and variant in QUESTIONS:
        first, second = (share["validated"] for share in two)
        assert len(first) != len(second)
        assert sorted(first + second) == sorted(one.validated)
        assert 0 < one.logged["val/knowledge_covered"] < 1
    names = {name for name in one.logged if name.startswith(f"{stage}/")}
    assert len(names) > (2 if variant in QUESTIONS else 6)
    for name in names:
        for share in two:
            expected = pytest.approx(one.logged[name], rel=1e-5, abs=1e-5)
            assert share["logged"][name] == expected, name


def test_two_processes_answer_and_count_as_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])
    trained, alone = run_folder(folder, "answering"), run_folder(folder, "one")
    best = shutil.copy(trained / "best.ckpt", folder / "answering.ckpt")
    assert main(phantom_words(folder, ANSWERING, "test", "one", f"--ckpt_path={best}", *ONE)) == 0
    mine, theirs = (read_record(f / "result-test.json", ResultRecord) for f in (alone, trained))
    assert (mine.hardware.devices, theirs.hardware.devices) == (1, 2)
    assert mine.scores == theirs.scores
    assert (mine.control, mine.blank) == (theirs.control, theirs.blank)
    assert None not in (mine.control, mine.blank)
    assert mine.test_runs == theirs.test_runs == 1

    here, there = (
        read_lines(f / "predictions-test.jsonl", PredictionLine) for f in (alone, trained)
    )
    # Padding differs between batches, so the last digits of measures may.
    assert [x.model_copy(update={"log_likelihood": 0, "knowledge": None}) for x in here] == [
        x.model_copy(update={"log_likelihood": 0, "knowledge": None}) for x in there
    ]
    for measure in ("log_likelihood", "knowledge.mass", "knowledge.effective", "knowledge.gate"):
        of = attrgetter(measure)
        assert [of(x) for x in here] == pytest.approx([of(x) for x in there], rel=1e-4)


def test_two_processes_search_and_count_as_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])
    trained, alone = run_folder(folder, "pretraining"), run_folder(folder, "search")
    best = shutil.copy(trained / "best.ckpt", folder / "pretraining.ckpt")
    words = phantom_words(folder, PRETRAINING, "test", "search", f"--ckpt_path={best}", *ONE)
    assert main(words) == 0
    mine, theirs = (read_record(f / "result-test.json", RetrievalRecord) for f in (alone, trained))
    assert (mine.hardware.devices, theirs.hardware.devices) == (1, 2)
    for name in ("studies", "image_to_text", "text_to_image", "mean", "zero_shot"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.teacher_kl == pytest.approx(theirs.teacher_kl, rel=1e-5)
    # A batch of another size may round the last digit of a cost differently; nothing else differs.
    here, there = ([*flat(f / "studies-test.jsonl")] for f in (alone, trained))
    assert [name for name, _ in here] == [name for name, _ in there]
    for (name, value), (_, other) in zip(here, there, strict=True):
        expected = pytest.approx(other, rel=1e-5) if isinstance(value, float) else other
        assert value == expected, name


def flat(path: Path) -> Iterator[tuple[str, Any]]:
    """Every value of a file of JSON lines with its place."""
    open_ends: list[tuple[str, Any]] = [
        ("", [json.loads(x) for x in path.read_text().splitlines()])
    ]
    while open_ends:
        name, value = open_ends.pop()
        if isinstance(value, dict):
            open_ends += [(f"{name}/{key}", one) for key, one in value.items()]
        elif isinstance(value, list):
            open_ends += [(f"{name}/{place}", one) for place, one in enumerate(value)]
        else:
            yield name, value
