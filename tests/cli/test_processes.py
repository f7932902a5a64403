"""Faults of the machine end a run with one sentence, and its processes stay on the machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from amif_lightning.cli.processes import fault, keep_on_loopback
from amif_lightning.errors import UserError
from tests.cli.conftest import QUICK, Main
from tests.processes import PROJECT

FOLDER = Path("runs/Loaded-Classifier/clean/seed0")
LOADED = ("--data=tests.cli.faults.Loaded", "--trainer.max_epochs=4")
TWO = ("--trainer.devices=2", "--trainer.strategy=ddp")
RESUME = r"; then resume with: \S+ -m amif_lightning fit .*--ckpt_path last"


def meeting(name: str, **options: int) -> list[str]:
    """Options of a run that meets a fault of :mod:`tests.cli.faults` in its second epoch."""
    given = [f"--trainer.callbacks.{key}={value}" for key, value in options.items()]
    return [*LOADED, f"--trainer.callbacks+=tests.cli.faults.{name}", *given]


def errors(printed: str) -> list[str]:
    """The printed errors, without a traceback."""
    assert "Traceback" not in printed
    return [line for line in printed.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    ("options", "more", "sentence"),
    [
        (
            {"limit": 5000},
            ["--trainer.logger=false"],
            r"/last\.ckpt cannot be written \(File too large; .*: free disk space",
        ),
        (
            {"limit": 200_000, "text": 300_000},  # in the event file
            [],
            r" cannot be written \(File too large; [\d.,]+ MB free\): free disk space there"
            + RESUME,
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's
def test_a_full_disk_keeps_the_earlier_files(
    options: dict[str, int],
    more: list[str],
    sentence: str,
    fit: Main,
    capfd: pytest.CaptureFixture[str],
    limit_files: Callable[[int], None],
) -> None:
    assert fit(*meeting("Full", **options), *more) == 2
    limit_files(-1)
    (error,) = errors(capfd.readouterr().err)
    assert re.search(rf"{FOLDER}{sentence}", error)
    assert torch.load(FOLDER / "last.ckpt", weights_only=True)["epoch"] == 0
    assert list(FOLDER.glob(".*.tmp")) == []


def test_a_killed_worker_is_one_sentence(fit: Main, capfd: pytest.CaptureFixture[str]) -> None:
    assert fit(*meeting("KilledWorkers"), "--data.workers=2") == 2
    (error,) = errors(capfd.readouterr().err)
    assert re.search(
        rf"DataLoader worker .* Killed.*--data\.init_args\.num_workers.*{RESUME}$", error
    )


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_other(rank: int, tmp_path: Path) -> None:
    paths = os.pathsep.join((str(PROJECT / "src"), str(PROJECT)))
    environment = {k: v for k, v in os.environ.items() if k != "GLOO_SOCKET_IFNAME"}
    words = ("fit", *QUICK, *meeting("KilledProcess", rank=rank), *TWO)
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.faults", *words],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # returns when no process has its streams open any more
    assert done.returncode == (-9 if rank == 0 else 2)
    (error,) = errors(done.stderr)
    assert re.search(rf"another process of this run ended .*by peer.*{RESUME}$", error)
    if sys.platform == "linux":
        first, second = (
            json.loads((tmp_path / FOLDER / f"sockets-{rank}.json").read_text()) for rank in (0, 1)
        )
        # The store of torch cannot be bound to one interface (docs/reliability.md).
        assert (first, second) == ({"lo": ["127.0.0.1", "::"]}, {"lo": ["127.0.0.1"]})


def test_the_users_interface_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    keep_on_loopback()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo0"), (2, "en0")])
    keep_on_loopback()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo0"


def _raised(*chain: Exception) -> Exception:
    """The last error, raised while the one before was handled, and so on."""
    for before, after in pairwise(chain):
        after.__context__ = before
    return chain[-1]


def test_the_first_fault_explains_those_that_follow() -> None:
    gloo = RuntimeError("[/x/gloo/transport/tcp/pair.cc:1] Connection closed by peer [::]:1. This")
    sentence = "another process of this run ended or does not answer (Connection closed by peer [::"
    again = _raised(gloo, ValueError("a callback"))
    gloo.__context__ = again  # an error that is raised twice leads to itself
    assert str(fault(again)).startswith(sentence)
    full = OSError(28, "No space left on device")
    gloo.__context__ = full
    assert "a file in run cannot be written (No space" in str(fault(gloo, Path("run")))
    user = _raised(full, UserError("x.ckpt cannot be written: free it."), OSError(28, "No space"))
    assert fault(user, Path("run")) == "x.ckpt cannot be written: free it"
    for bug in (ZeroDivisionError("a gloo/bug closed"), RuntimeError("a bug"), OSError(2, "none")):
        assert fault(bug, Path()) is None
