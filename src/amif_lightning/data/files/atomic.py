"""Write files and folders whole or not at all, and lock them.

``advice`` completes the error sentence: the next action where something cannot be written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from amif_lightning.errors import UserError

OTHER_FOLDER = "choose another folder"


@contextmanager
def replacing(path: Path, advice: str = OTHER_FOLDER, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename that file to ``path`` afterwards.

    Missing folders are created. With ``sync`` the content is on the disk before the rename; many
    small files that can be made again do without.

    Raises:
        UserError: If the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if sync:
            with temporary.open("r+b") as stream:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error, advice) from error
    finally:
        with contextlib.suppress(OSError):  # renamed, or never written
            temporary.unlink()


@contextmanager
def new_folder(path: Path, advice: str = OTHER_FOLDER) -> Iterator[Path]:
    """Yield an empty folder named as ``path``, which the caller renames to ``path``.

    It lies in a hidden folder beside ``path``, which is deleted afterwards. Missing parent folders
    are created.

    Raises:
        UserError: If nothing can be written beside ``path``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        around = Path(tempfile.mkdtemp(prefix=f".{path.name}-unfinished-", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error, advice) from error
    try:
        # One level deeper: mkdtemp's folder is closed to other users and this one is not.
        folder = around / path.name
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(around, ignore_errors=True)


@contextmanager
def locked(path: Path, advice: str = OTHER_FOLDER) -> Iterator[None]:
    """Let one process of this machine at a time write ``path``; others wait.

    Raises:
        UserError: If nothing can be written beside ``path``.
    """
    lock = FileLock(path.with_name(f".{path.stem}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unwritable(path, error, advice) from error
    try:
        yield
    finally:
        lock.release()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by a text, encoded as UTF-8.

    Raises:
        UserError: If the file cannot be written, or ``path`` is a folder.
    """
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: give the name of a file, such as {path / 'report.md'}."
        )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


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


def _unwritable(path: Path, error: OSError, advice: str) -> UserError:
    return UserError(f"{path} cannot be written ({error.strerror or error}): {advice}.")
