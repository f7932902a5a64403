"""Files are whole or absent, also after a failure, and one process at a time makes them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
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
    with pytest.raises(UserError, match=r"a\.json cannot be written \(No space left on device\)"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


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
