"""A second `fit` in the same run folder is refused while the first one runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from amif_lightning.cli.runs import RunLock
from amif_lightning.errors import UserError


def test_the_second_is_refused_with_the_first_ones_name(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first, second = RunLock(folder), RunLock(folder)
    second.check()
    assert not folder.exists()
    first.acquire()
    for attempt in (second.check, second.acquire):
        with pytest.raises(UserError, match=rf"process {os.getpid()} on \S+, started 20.*wait for"):
            attempt()
    first.release()
    second.check()
    second.acquire()


def test_half_written_checkpoints_of_killed_runs_are_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, dead = socket.gethostname(), _ended()
    removed = [
        f".best.ckpt.{dead}.tmp",  # of earlier versions
        f".last.ckpt.{dead}@{here}.tmp",
        f".last.ckpt.{os.getpid()}@{here}.tmp",  # after a restart, another process has its number
        ".last.ckpt.1@elsewhere.tmp",  # its run had this lock
        f".result-test.json.{dead}@{here}.tmp",
    ]
    kept = [
        f".last.ckpt.{os.getppid()}@{here}.tmp",  # its process runs
        ".result-test.json.1@elsewhere.tmp",  # a test takes no lock
        "last.ckpt",
    ]
    for name in (*removed, *kept):
        (tmp_path / name).write_bytes(bytes(150_000))
    lock = RunLock(tmp_path)
    lock.acquire()
    assert sorted(path.name for path in tmp_path.glob("*[pt]")) == sorted(kept)
    lines = [f"{tmp_path / name} removed (0.1 MB): a killed process left it" for name in removed]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(lines)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"run cannot be written \(Not a directory\): .*--runs"):
        RunLock(tmp_path / "file" / "run").acquire()


def _ended() -> int:
    """The number of a process that has ended."""
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    if (child := os.fork()) == 0:
        RunLock(tmp_path).acquire()
        os._exit(0)  # like a killed process: nothing is released
    os.waitpid(child, 0)
    RunLock(tmp_path).acquire()
