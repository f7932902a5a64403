"""Studies drawn by several processes, which end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_modules.phantom import generate as module
from data_modules.phantom.generate import generate
from tests.data_modules.phantom.files import TINY


def test_large_sets_use_all_cores_and_small_ones_no_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def pool(processes: int, **options: object) -> object:
        asked.append(processes)
        raise RuntimeError("a pool")

    monkeypatch.setattr(module, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))
    generate(tmp_path / "small", studies=TINY, progress=False)
    assert asked == []
    with pytest.raises(RuntimeError, match="a pool"):
        generate(tmp_path / "large", studies={"train": 199, "test": 1}, progress=False)
    assert asked == [3]


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from data_modules.phantom import generate, study

def touch(folder, job):
    (folder / str(os.getpid())).touch()
    return study.Written("", "", [], None)

study.write_study = touch
jobs = study.plan(0, "train", 200)
for number, _ in enumerate(generate.written(Path(sys.argv[1]), jobs, 2)):
    if number == 150:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert 1 <= len(pids) <= 2
    end = time.monotonic() + 20
    while any(_runs(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    """Whether a process has not ended; one that waits to be collected has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
