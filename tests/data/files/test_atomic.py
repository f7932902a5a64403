"""Files are whole or absent, also after a failure, and one process at a time makes them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.data.files.atomic import (
    locked,
    new_folder,
    read_text,
    replacing,
    write_atomically,
)
from amif_lightning.errors import UserError


def test_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_atomically(path, "old")
    write_atomically(path, "new µ\n")
    assert path.read_bytes() == "new µ\n".encode()
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_a_failed_rename_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(source: object, target: object) -> None:
        # The new content is complete under another name before the old one is touched.
        assert Path(str(source)).read_text() == "new"
        assert Path(str(source)).parent == tmp_path
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    full = r"a\.json cannot be written \(No space left on device; [\d,.]+ MB free\)"
    with pytest.raises(UserError, match=full):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_names_the_folder_that_was_made(
    tmp_path: Path, limit_files: Callable[[int], None]
) -> None:
    limit_files(100)
    full = r"set cannot be written \(File too large; [\d,.]+ MB free\): give another root\."
    with (
        pytest.raises(UserError, match=full),
        new_folder(tmp_path / "set", "give another root") as folder,
    ):
        (folder / "a").write_text("a" * 1000)
    assert list(tmp_path.iterdir()) == []


def _killed(path: Path) -> int:
    """The number of a process that was killed while it wrote a file."""
    if (child := os.fork()) == 0:
        with replacing(path) as temporary:
            temporary.write_text("half")
            os._exit(0)  # like a killed process: nothing is removed
    os.waitpid(child, 0)
    return child


def test_files_of_killed_processes_are_removed_under_the_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a[1].npz"
    child = _killed(path)
    (left,) = tmp_path.iterdir()
    assert left.name == f".{path.name}.{child}@{socket.gethostname()}.tmp"
    kept = {
        f".{path.name}.{os.getppid()}@{socket.gethostname()}.tmp",  # its process runs
        f".{path.name}.{child}@elsewhere.tmp",  # unknown
        f".a1.npz.{child}@{socket.gethostname()}.tmp",  # of another file
        f".{path.name}.tmp",
    }
    for name in kept:
        (tmp_path / name).touch()
    with locked(path):
        pass
    assert {item.name for item in tmp_path.iterdir()} - {".a[1].lock"} == kept
    printed = capsys.readouterr().out
    assert printed == f"{left} removed (0.0 MB): a killed process left it\n"


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_special_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="is not a regular file"):
        write_atomically(pipe, "text")
    assert pipe.is_fifo()


def test_a_file_in_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.json"
    for block in (replacing(path, "move it"), new_folder(path, "move it"), locked(path, "move it")):
        with pytest.raises(UserError, match=r"cannot be written \(.*\): move it\."), block:
            pass


def test_folders_and_unreadable_texts_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for path in (Path("."), Path(".."), tmp_path / "x"):
        with pytest.raises(UserError, match="is a folder: give the name of a file"):
            write_atomically(path, "x")
    assert [item.name for item in tmp_path.iterdir()] == ["x"]
    with pytest.raises(UserError, match=r"none cannot be read"):
        read_text(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(UserError, match="latin is not UTF-8"):
        read_text(tmp_path / "latin")


def _hold(path: Path, log: Path) -> None:
    with locked(path):
        with log.open("a") as stream:
            stream.write("in ")
        time.sleep(0.2)
        with log.open("a") as stream:
            stream.write("out ")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    work = [
        context.Process(target=_hold, args=(tmp_path / "a.safetensors", tmp_path / "log"))
        for _ in range(3)
    ]
    for process in work:
        process.start()
    for process in work:
        process.join(20)
    assert (tmp_path / "log").read_text() == "in out " * 3
