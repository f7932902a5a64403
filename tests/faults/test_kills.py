"""Runs that are killed at any moment and resumed end as the uninterrupted run does, bit for bit.

`pytest -s -m faults tests/faults/test_kills.py` prints every kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.faults.killer import COUNTS, VARIABLE
from tests.processes import PROJECT, phantom_folder
from tests.small import RUN_OPTIONS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

EXIT_CODES = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130}
STEPS = ("--trainer.max_steps=9", "--trainer.max_epochs=-1")
EPOCHS = ("--trainer.max_steps=-1", "--trainer.max_epochs=3")
#: Measured times: they differ between any two runs.
TIMES = ("durations", "created", "started", "finished", "seconds")


@dataclass
class Case:
    """One configuration; its uninterrupted run is made once.

    Attributes:
        experiment: File below ``experiments/``.
        options: How long to train, and how often to validate.
        processes: Number of processes.
    """

    experiment: str
    options: tuple[str, ...]
    processes: int = 1
    seconds: float = field(default=0.0, init=False)
    folder: Path = field(default=Path(), init=False)
    moments: dict[str, int] = field(default_factory=dict, init=False)

    def command(self, base: Path, name: str, workers: int) -> list[str]:
        more = ("--trainer.strategy=ddp",) if self.processes > 1 else ()
        return [
            sys.executable,
            str(PROJECT / "tests" / "faults" / "train_and_test.py"),
            "fit",
            f"--config={PROJECT / 'experiments' / self.experiment}",
            *RUN_OPTIONS,
            "--model.init_args.text_layers=1",
            "--model.init_args.dropout=0.1",
            "--data.init_args.batch_size=4",
            f"--data.init_args.num_workers={workers}",
            "--data.init_args.cache_images=false",
            f"--data.init_args.root={base / 'phantom'}",
            "--trainer.log_every_n_steps=1",
            "--trainer.accumulate_grad_batches=2",
            "--trainer.callbacks+=tests.faults.killer.Killer",
            f"--trainer.devices={self.processes}",
            *more,
            *self.options,
            f"--runs={base / 'runs'}",
            f"--experiment={name}",
        ]


def _start(command: list[str], **variables: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join((str(PROJECT / "src"), str(PROJECT)))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(
        [*command, "--then", "--trainer.devices=1", "--trainer.strategy=auto"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _finish(command: list[str], **variables: str) -> None:
    process = _start(command, **variables)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]


def _end_all(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the process group: the other process of two."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Each scalar's last value at each step."""
    found: dict[tuple[str, int], float] = {}
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.name):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                found[tag, event.step] = event.value
    return found


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in TIMES}
    return value


def _differences(folder: Path, whole: Path) -> list[str]:
    """What differs from the uninterrupted run."""
    ours, theirs = (torch.load(f / "last.ckpt", weights_only=True) for f in (folder, whole))
    found = [
        f"weight {name}"
        for name, value in theirs["state_dict"].items()
        if not torch.equal(ours["state_dict"][name], value)
    ]
    for key in ("optimizer_states", "lr_schedulers", "global_step", "epoch"):
        if not _equal(ours[key], theirs[key]):
            found.append(key)
    mine, full = _scalars(folder), _scalars(whole)
    found += [f"scalar {key}" for key in sorted(full) if mine.get(key) != full[key]]
    found += [f"scalar {key} is new" for key in sorted(mine.keys() - full.keys())]
    for lines in sorted(whole.glob("*-test.jsonl")):
        if (folder / lines.name).read_bytes() != lines.read_bytes():
            found.append(lines.name)
    records = (json.loads((f / "result-test.json").read_text()) for f in (folder, whole))
    mine_record, full_record = (_without_times(record) for record in records)
    ignored = {"config", "checkpoint", "experiment", "run_folder"}
    found += [
        f"record {key}"
        for key in full_record.keys() - ignored
        if mine_record.get(key) != full_record[key]
    ]
    return found


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


CASES = {
    "answering, steps": Case(
        "vqa/phantom.yaml",
        (*STEPS, "--trainer.val_check_interval=4", "--trainer.check_val_every_n_epoch=1"),
    ),
    "answering, epochs": Case(
        "vqa/phantom.yaml",
        (*EPOCHS, "--trainer.val_check_interval=1.0", "--trainer.check_val_every_n_epoch=1"),
    ),
    "pre-training, steps": Case(
        "pretrain/phantom.yaml",
        (*STEPS, "--trainer.val_check_interval=1.0", "--trainer.check_val_every_n_epoch=2"),
    ),
    "pre-training, epochs": Case(
        "pretrain/phantom.yaml",
        (*EPOCHS, "--trainer.val_check_interval=2", "--trainer.check_val_every_n_epoch=1"),
    ),
    "answering, steps, two processes": Case(
        "vqa/phantom.yaml",
        (*STEPS, "--trainer.val_check_interval=1.0", "--trainer.check_val_every_n_epoch=1"),
        2,
    ),
}


def _kills() -> Iterator[tuple[str, str, str, float]]:
    """Case, signal, place and share of the place's moments: 56 kills."""
    draw = random.Random(0)
    single = [name for name, case in CASES.items() if case.processes == 1]
    for place in ("validation", "saving", "window", "epoch start"):
        for number in range(8):
            sent = ("SIGKILL", "SIGTERM", "SIGINT")[number % 3]
            yield single[number % len(single)], sent, place, draw.random()
    for number in range(16):  # evenly over whole runs, start and test included
        sent = ("SIGKILL", "SIGTERM", "SIGINT", "SIGKILL")[number % 4]
        yield single[number // 4], sent, "time", (number % 4 + draw.random()) / 4
    for number in range(8):
        yield "answering, steps, two processes", "SIGKILL", "time", (number + draw.random()) / 8


KILLS = list(_kills())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_folder(tmp_path_factory.mktemp("kills"))


def _whole(case: Case, name: str, base: Path) -> Path:
    if not case.seconds:
        start = time.monotonic()
        counts = base / "moments.json"
        run = f"whole-{list(CASES).index(name)}"
        _finish(case.command(base, run, workers=0), **{COUNTS: str(counts)})
        case.moments = json.loads(counts.read_text())
        case.seconds = time.monotonic() - start
        case.folder = base / "runs" / run / "clean" / "seed0"
    return case.folder


@pytest.mark.parametrize("number", range(len(KILLS)))
def test_a_killed_run_ends_as_the_uninterrupted_one(number: int, base: Path) -> None:
    name, sent, place, share = KILLS[number]
    case = CASES[name]
    whole = _whole(case, name, base)
    command = case.command(base, f"killed-{number}", workers=number % 3)
    folder = base / "runs" / f"killed-{number}" / "clean" / "seed0"
    if place == "time":
        moment = f"{share * case.seconds:.2f} s of {case.seconds:.2f} s"
        process = _start(command)
        try:
            output, _ = process.communicate(timeout=share * case.seconds)
        except subprocess.TimeoutExpired:
            if case.processes > 1:
                os.killpg(process.pid, signal.Signals[sent])
            else:
                process.send_signal(signal.Signals[sent])
            output, _ = process.communicate(timeout=300)
    else:
        count = 1 + int(share * case.moments[place])
        moment = f"{place} {count}"
        process = _start(command, **{VARIABLE: f"{sent},{place},{count}"})
        output, _ = process.communicate(timeout=300)
    _end_all(process)
    code = process.returncode
    there = {path.name for path in folder.glob("*.ckpt")}
    print(f"\n{number:2}: {name}: {sent} at {moment}: exit code {code}, {sorted(there)}")
    if place != "time":
        assert code == EXIT_CODES[sent], output[-3000:]
    if not (folder / "result-test.json").exists():
        more = [f"--ckpt_path={n}" for n in ("last", "best") if f"{n}.ckpt" in there][:1]
        _finish([*case.command(base, f"killed-{number}", workers=(number + 1) % 3), *more])
    assert _differences(folder, whole) == []
