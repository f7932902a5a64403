"""Two processes pre-train as one: losses, drawn negatives, gradients, scores and records."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.cli import main
from amif_lightning.reports.records.retrieval import RetrievalRecord
from amif_lightning.reports.records.run import read_record
from tests.processes import phantom_folder, phantom_words, python
from tests.two_processes import FirstStep, first_step

pytestmark = pytest.mark.ddp

FILES = ("pretrain/phantom.yaml", "hardware/ddp.yaml")
#: Joint losses of the suite and of the released code; then other tokens, stage global, and reports
#: without a word to transport.
FAST, SLOW = ("pretraining", "released"), ("contextual", "fused", "matched", "silent")
TWO = ("--trainer.accelerator=cpu", "--trainer.devices=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_folder(tmp_path_factory.mktemp("two_studies"))


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The run folder of a mixed-precision ``fit`` on two processes, with accumulation."""
    mixed = ("--trainer.precision=bf16-mixed", "--trainer.accumulate_grad_batches=2")
    said = python("-m", "amif_lightning", *phantom_words(folder, FILES, "fit", "two", *TWO, *mixed))
    assert "MEMBER: 2/2" in said
    return folder / "runs" / "two" / "clean" / "seed0"


@pytest.fixture(scope="module")
def tested(folder: Path, trained: Path) -> Path:
    """The folder with what was kept, after a ``test`` on two processes as well."""
    command = phantom_words(folder, FILES, "test", "two", "--ckpt_path=best", *TWO)
    paths = (str(folder / "phantom"), str(folder))
    python("-m", "tests.two_processes", ",".join(FAST), *paths, *command)
    return folder


@pytest.fixture(scope="module")
def more(folder: Path) -> Path:
    """The folder with what was kept of the other variants."""
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
    kept_in = request.getfixturevalue("tested" if variant in FAST else "more")
    kept: list[dict[str, Any]] = torch.load(kept_in / f"{variant}.pt", weights_only=True)
    return kept


@pytest.fixture(scope="module")
def one(folder: Path, two: list[dict[str, Any]], variant: str) -> FirstStep:
    return first_step(variant, folder / "phantom", 1)


def test_accumulated_steps_are_counted_once(trained: Path) -> None:
    assert torch.load(trained / "last.ckpt", weights_only=True)["global_step"] == 4


def test_both_processes_draw_the_negatives_of_one(
    two: list[dict[str, Any]], one: FirstStep, variant: str
) -> None:
    assert sorted(two[0]["samples"] + two[1]["samples"]) == sorted(one.samples)
    assert two[0]["drawn"] | two[1]["drawn"] == one.drawn
    # Transport of unfused tokens and matching draw apart; the matched transport draws nothing.
    draws = {"pretraining": 2, "released": 1, "fused": 1, "matched": 0}.get(variant, 2)
    assert len(one.drawn) == 8 * draws
    # Some of them came from the other process.
    own = {key.split("/")[1] for key in two[0]["drawn"]}
    strange = [str(s) not in own for pair in two[0]["drawn"].values() for s in pair]
    assert any(strange) == bool(draws)


@pytest.mark.slow
def test_processes_with_unequal_numbers_of_pairs_are_among_them(more: Path) -> None:
    """Else a mean of means would be as good as the mean."""
    shares = torch.load(more / "silent.pt", weights_only=True)
    spoken = [sum(share["spoken"]) for share in shares]
    assert spoken[0] != spoken[1]
    assert 0 < sum(spoken) < 8


def test_every_gradient_is_that_of_one_process_with_the_whole_batch(
    two: list[dict[str, Any]], one: FirstStep, variant: str
) -> None:
    for share in two:
        assert share["gradient"].keys() == one.gradient.keys()
        for name, gradient in one.gradient.items():
            given = share["gradient"][name]
            # Sums of float32: what is left of a sum that cancels has the error of its terms.
            error = 2e-5 * max(1.0, float(gradient.abs().max()))
            torch.testing.assert_close(given, gradient, rtol=1e-4, atol=error, msg=name)
    parts = {name.split(".")[0] for name, g in one.gradient.items() if float(g.abs().sum()) > 1e-3}
    head = set() if variant == "matched" else {"matching_head"}
    assert parts == {"vision", "text", "fusion", "alignment"} | head


@pytest.mark.parametrize("stage", ["train", "val"])
def test_both_processes_log_what_one_does(
    two: list[dict[str, Any]], one: FirstStep, stage: str
) -> None:
    names = {name for name in one.logged if name.startswith(f"{stage}/")}
    assert len(names) > 6
    for name in names:
        for share in two:
            assert share["logged"][name] == pytest.approx(one.logged[name], rel=1e-5, abs=1e-5), (
                name
            )


def test_two_processes_search_and_count_as_one(
    tested: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])
    best = shutil.copy(trained / "best.ckpt", tested / "best.ckpt")
    alone = ("--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto")
    words = phantom_words(tested, FILES, "test", "one", f"--ckpt_path={best}")
    assert main([*words, *alone]) == 0
    folder = tested / "runs" / "one" / "clean" / "seed0"
    mine, theirs = (read_record(f / "result-test.json", RetrievalRecord) for f in (folder, trained))
    assert (mine.hardware.devices, theirs.hardware.devices) == (1, 2)
    for name in ("studies", "image_to_text", "text_to_image", "mean", "zero_shot"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.teacher_kl == pytest.approx(theirs.teacher_kl, rel=1e-5)
    # A batch of another size may round the last digit of a cost differently; nothing else differs.
    here, there = ([*flat(f / "studies-test.jsonl")] for f in (folder, trained))
    assert [name for name, _ in here] == [name for name, _ in there]
    for (name, value), (_, other) in zip(here, there, strict=True):
        assert value == (pytest.approx(other, rel=1e-5) if isinstance(value, float) else other), (
            name
        )


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
