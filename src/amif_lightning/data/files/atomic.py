"""Files that are whole or absent: written under a temporary name, then renamed; and locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from amif_lightning.errors import UserError


def write_whole(path: Path, write: Callable[[Path], None], option: str = "teacher_cache") -> None:
    """Let ``write`` fill a file of another name beside ``path``, then rename it.

    Args:
        path: The file; missing folders are created.
        write: Writes the file that it is given.
        option: The constructor argument that names its folder, for the message.

    Raises:
        UserError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): give another folder as "
            f"--data.init_args.{option}."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it is gone after a rename, or never came to be
            temporary.unlink()


@contextmanager
def locked(path: Path, option: str = "teacher_cache") -> Iterator[None]:
    """Let one process of this machine at a time make ``path``; others wait.

    The empty lock file stays: deleting it would let a third process lock another file of its name.

    Args:
        path: The file to be made.
        option: The constructor argument that names its folder, for the message.

    Raises:
        UserError: If nothing can be written beside ``path``.
    """
    lock = path.with_name(f".{path.stem}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w")
    except OSError as error:
        raise UserError(
            f"{lock} cannot be written ({error.strerror}): give another folder as "
            f"--data.init_args.{option}."
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # released when the file is closed, also by a crash
        yield


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` under a temporary name in the same folder, then rename it to ``path``.

    Args:
        path: File to create or replace; missing folders are created.
        text: The whole content.

    Raises:
        UserError: If the file cannot be written, or ``path`` is a folder.
    """
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: give the name of a file, such as {path / 'report.md'}."
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())  # the rename must not reach the disk before the content
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path} cannot be written ({reason}): choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):  # it is gone after a rename, or never came to be
            temporary.unlink()


def read_text(path: Path) -> str:
    """The UTF-8 content of ``path``.

    Raises:
        UserError: If the file is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text: test the checkpoint again to rewrite it."
        ) from error
