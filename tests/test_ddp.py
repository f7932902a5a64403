"""Two processes on the CPU give what one gives: the gradient, the answers and the counts."""

from __future__ import annotations

import shutil
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.cli import main
from amif_lightning.reports.records.answering import PredictionLine, ResultRecord
from amif_lightning.reports.records.run import read_record
from amif_lightning.reports.records.schema import read_lines
from tests.processes import phantom_folder, phantom_words, python
from tests.two_processes import FirstStep, first_step

pytestmark = pytest.mark.ddp

FILES = ("vqa/phantom.yaml",)
TWO = ("--trainer.devices=2", "--trainer.strategy=ddp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_folder(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The run folder of a mixed-precision ``fit`` on two processes, with accumulation."""
    mixed = ("--trainer.precision=bf16-mixed", "--trainer.accumulate_grad_batches=2")
    said = python("-m", "amif_lightning", *phantom_words(folder, FILES, "fit", "two", *TWO, *mixed))
    assert "MEMBER: 2/2" in said
    return folder / "runs" / "two" / "clean" / "seed0"


@pytest.fixture(scope="module")
def tested(folder: Path, trained: Path) -> Path:
    """The folder with ``answering.pt``, after a ``test`` on two processes as well."""
    command = phantom_words(folder, FILES, "test", "two", "--ckpt_path=best", *TWO)
    paths = (str(folder / "phantom"), str(folder))
    python("-m", "tests.two_processes", "answering", *paths, *command)
    return folder


def test_fit_writes_one_run_folder(trained: Path) -> None:
    assert {"best.ckpt", "last.ckpt", "config.yaml"} <= {p.name for p in trained.iterdir()}
    assert torch.load(trained / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.fixture(scope="module")
def two(tested: Path) -> list[dict[str, Any]]:
    """What each of two processes kept of the first step."""
    kept: list[dict[str, Any]] = torch.load(tested / "answering.pt", weights_only=True)
    return kept


@pytest.fixture(scope="module")
def one(tested: Path) -> FirstStep:
    return first_step("answering", tested / "phantom", 1)


def test_the_gradient_is_that_of_one_process_with_the_whole_batch(
    two: list[dict[str, Any]], one: FirstStep
) -> None:
    first, second = (share["samples"] for share in two)
    assert len(first) != len(second)
    assert sorted(first + second) == sorted(one.samples)
    for share in two:
        assert share["gradient"].keys() == one.gradient.keys()
        for name, gradient in one.gradient.items():
            given = share["gradient"][name]
            torch.testing.assert_close(given, gradient, rtol=1e-4, atol=1e-5, msg=name)
    assert sum(float(g.abs().sum()) for g in one.gradient.values()) > 1


@pytest.mark.parametrize("stage", ["train", "val"])
def test_both_processes_log_the_means_of_one(
    two: list[dict[str, Any]], one: FirstStep, stage: str
) -> None:
    first, second = (share["samples" if stage == "train" else "validated"] for share in two)
    assert len(first) != len(second)
    assert sorted(first + second) == sorted(one.samples if stage == "train" else one.validated)
    read = {"train": ("knowledge_loss",), "val": ("knowledge_mass", "knowledge_covered")}[stage]
    for name in (f"{stage}/{what}" for what in ("answer_loss", "gate_mean", *read)):
        assert [share["logged"][name] for share in two] == pytest.approx(
            [one.logged[name]] * 2, rel=1e-5
        )
    assert 0 < one.logged["val/knowledge_covered"] < 1
    names = {name for name in one.logged if name.startswith(f"{stage}/")}
    assert all(names <= share["logged"].keys() for share in two)


def test_two_processes_answer_and_count_as_one(
    tested: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])
    best = shutil.copy(trained / "best.ckpt", tested / "best.ckpt")
    assert main(phantom_words(tested, FILES, "test", "one", f"--ckpt_path={best}")) == 0
    alone = tested / "runs" / "one" / "clean" / "seed0"
    mine, theirs = (read_record(f / "result-test.json", ResultRecord) for f in (alone, trained))
    assert (mine.hardware.devices, theirs.hardware.devices) == (1, 2)
    assert mine.scores == theirs.scores
    assert mine.control == theirs.control
    assert mine.control is not None
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
