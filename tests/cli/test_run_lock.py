"""A second `fit` in the same run folder is refused while the first one runs."""

from __future__ import annotations

import os
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


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    if (child := os.fork()) == 0:
        RunLock(tmp_path).acquire()
        os._exit(0)  # like a killed process: nothing is released
    os.waitpid(child, 0)
    RunLock(tmp_path).acquire()
