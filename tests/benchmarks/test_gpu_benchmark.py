"""The GPU benchmark at tiny sizes on the CPU: its table, its limits, its split of the time."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import gpu
from benchmarks.gpu import Measurement, Report, limit, run
from benchmarks.on_gpu import kernels, networks, others, steps


def test_a_dry_run_measures_steps_and_their_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ["card", "correctness", "steps", "split", "ranking", "transport"]
    gpu.main(["--dry-run", "--output", str(tmp_path), "--only", *parts])
    text = (tmp_path / "gpu.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line for line in lines if "FAILED" in line] == []
    assert list(dict.fromkeys(line["part"] for line in lines)) == parts
    assert len((tmp_path / "gpu.md").read_text(encoding="utf-8").splitlines()) == len(lines) + 2
    found = {line["name"]: line for line in lines}
    # The same device twice, so that every loss is compared and equal.
    same = found["pre-training: GPU, CPU"]
    assert {same[f"{name}_loss"] for name in ("image_text", "transport", "matching")} == {0.0}
    assert found["pre-training: batch 2"]["ms"] > 0
    assert found["pre-training"]["transport backward ms"] > 0
    assert found["answering"]["vocabulary backward ms"] > 0
    assert found["20 candidates"]["equal first answers"] == "2 of 2"
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{len(lines)} measurements, 0 ")


def test_without_a_gpu_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--output", str(tmp_path / "out")])
    assert "nothing is measured" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_failure_and_a_late_measurement_lose_nothing_else(tmp_path: Path) -> None:
    def broken() -> steps.Figures:
        raise RuntimeError("out of | memory")

    def slow() -> steps.Figures:
        try:
            time.sleep(5)
        except Exception:  # as some libraries do
            return {"never": 1}
        return {"never": 2}

    made = [
        Measurement("a", "broken", 9, broken),
        Measurement("a", "slow", 1.1, slow),
        Measurement("b", "good", 9, lambda: {"ms": 1.23456, "shape": "2 x 2"}),
    ]
    assert run(made, Report(tmp_path), 60) == 2
    table = (tmp_path / "gpu.md").read_text(encoding="utf-8").splitlines()
    assert "FAILED RuntimeError: out of / memory" in table[2]
    assert "not finished within 1 s" in table[3]
    assert table[4].startswith("| b | good | ms 1.235; shape 2 x 2 |")
    assert run(made, Report(tmp_path), 0) == 3


def test_a_limit_keeps_the_outer_one() -> None:
    before = signal.setitimer(signal.ITIMER_REAL, 50)
    handler = signal.getsignal(signal.SIGALRM)
    with limit(5):
        pass
    left, _ = signal.setitimer(signal.ITIMER_REAL, *before)
    assert 40 < left <= 50
    assert signal.getsignal(signal.SIGALRM) is handler


def test_backward_time_belongs_to_the_part_of_the_forward_pass() -> None:
    large, small = nn.Linear(600, 600), nn.Linear(600, 2)
    inputs = torch.randn(400, 600)
    with kernels.ranges({"large": [large], "small": [small]}):
        events = kernels.recorded(lambda: small(large(inputs)).sum().backward(), "cpu")
    spent = kernels.by_part(events, "cpu")
    assert spent["large backward"] > spent["small backward"] > 0
    assert spent["large forward"] > spent["small forward"] > 0


def test_dropout_is_left_out_and_comes_back_and_runs_repeat(tmp_path: Path) -> None:
    stage = networks.answering(networks.tiny(tmp_path), tmp_path)
    task = stage.task

    def rates() -> list[float]:
        every = (m for m in task.modules() if isinstance(m, nn.Dropout | nn.MultiheadAttention))
        return [m.p if isinstance(m, nn.Dropout) else m.dropout for m in every]

    before = rates()
    assert max(before) > 0
    with networks.without_dropout(task, attention_only=True):
        assert 0 < sum(rates()) < sum(before)
    with networks.without_dropout(task):
        assert sum(rates()) == 0
    assert rates() == before
    found = steps.repeated(stage, 2, deterministic=True)
    assert set(found.values()) == {0.0}


PROFILE = """
|  Total                                           |  -     |  94  |  12.0  |  100 %  |
|  run_training_epoch                              |  10.0  |  1   |  10.0  |  80     |
|  run_training_batch                              |  1.0   |  6   |  6.0   |  50     |
|  [_TrainingEpochLoop].train_dataloader_next      |  0.2   |  7   |  1.5   |  12     |
|  [Strategy]SingleDeviceStrategy.batch_to_device  |  0.1   |  8   |  0.5   |  4      |
"""


def test_lightnings_profile_gives_the_loaders_share() -> None:
    found = others.profiled(PROFILE)
    assert found["steps a second"] == pytest.approx(0.75)
    assert found["steps a second with validation"] == pytest.approx(0.6)
    assert found["waiting for the loader %"] == pytest.approx(100 * 1.5 / 8)
