from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from amif_lightning.reports.records.provenance import git_state, machine, now, package_versions


def _git(folder: Path, *arguments: str) -> str:
    identity = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for role in ("AUTHOR", "COMMITTER"):
        identity |= {f"GIT_{role}_NAME": "a", f"GIT_{role}_EMAIL": "a@b.c"}
    command, environment = ["git", "-C", str(folder), *arguments], os.environ | identity
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def _commit(folder: Path) -> str:
    _git(folder, "init", "-q")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "x")
    return _git(folder, "rev-parse", "HEAD")


def test_git_state_follows_the_work_tree(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "a.py").write_text("1\n")
    assert git_state(source) == (None, None)  # no work tree
    commit = _commit(tmp_path)
    assert git_state(source) == (commit, False)
    (tmp_path / "notes.txt").write_text("untracked files change no result")
    assert git_state(source) == (commit, False)
    (source / "a.py").write_text("2\n")
    assert git_state(source) == (commit, True)


def test_an_installed_copy_does_not_borrow_a_commit(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("site/\n")
    _commit(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.py").write_text("")
    assert git_state(tmp_path / "site") == (None, None)


def test_without_git_the_state_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == (None, None)


def test_versions_leave_out_absent_packages() -> None:
    versions = package_versions(["pyyaml", "no-such-distribution"])
    assert versions.keys() == {"python", "pyyaml"}
    assert versions["python"] == platform.python_version()
    assert re.match(r"\d+\.", versions["pyyaml"])


def test_machine_and_time() -> None:
    here = machine(gpu="H200", devices=2)
    assert here.cpu
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert here.memory_gib is None or 0.1 < here.memory_gib < 1e6
    assert (here.gpu, here.devices) == ("H200", 2)
    assert datetime.fromisoformat(now()).utcoffset() == timedelta(0)
