"""Forty steps of each stage give the committed numbers: bit for bit where they were written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import golden

WRITTEN: dict[str, Any] = json.loads(golden.FILE.read_text(encoding="utf-8"))
HERE = golden.machine() == WRITTEN["machine"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    # Through JSON, as the written ones went.
    again: dict[str, dict[str, Any]] = json.loads(
        json.dumps(golden.run(tmp_path_factory.mktemp("golden")))
    )
    return again


def test_every_stage_has_its_steps(found: dict[str, dict[str, Any]]) -> None:
    assert list(found) == ["global", "local", "joint", "answering"]
    for stage in found.values():
        assert {
            len(values) for tag, values in stage["losses"].items() if "transport" not in tag
        } == {golden.STEPS}


@pytest.mark.parametrize("stage", ["global", "local", "joint", "answering"])
def test_numbers_are_those_that_were_written(found: dict[str, dict[str, Any]], stage: str) -> None:
    here, written = found[stage], WRITTEN["stages"][stage]
    if HERE:
        assert here == written
        return
    # Another processor rounds differently, and forty steps amplify that: measured with other vector
    # instructions and with two threads, a loss moves by up to 10 % and an answer's by 1 %.
    assert {name: sorted(part) for name, part in here.items() if isinstance(part, dict)} == {
        name: sorted(part) for name, part in written.items() if isinstance(part, dict)
    }
    total = "train/answer_loss" if stage == "answering" else "train/loss"
    assert here["losses"][total] == pytest.approx(written["losses"][total], rel=0.3)
    if stage in {"global", "joint"}:  # the others start from a checkpoint that differs already
        for tag, values in here["losses"].items():
            if "transport" in tag:  # starts later
                continue
            assert values[0] == pytest.approx(written["losses"][tag][0], rel=1e-3)


@pytest.mark.parametrize(
    ("stage", "name", "share"),
    [
        ("global", "image_text_loss", 0.85),
        ("joint", "loss", 0.7),
        ("answering", "answer_loss", 0.85),
    ],
)
def test_training_lowers_the_loss(
    found: dict[str, dict[str, Any]], stage: str, name: str, share: float
) -> None:
    losses = found[stage]["losses"][f"train/{name}"]
    assert sum(losses[-5:]) < share * sum(losses[:5])
