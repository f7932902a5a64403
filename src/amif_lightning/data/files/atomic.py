"""Write files and folders completely or not at all, and lock them.

``advice`` ends the error sentence: what to do if the path is not writable.
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
    """Yield a temporary path next to ``path``; rename that file to ``path`` afterwards.

    Missing folders are created. ``sync`` flushes the content to disk before the rename, which many
    small regenerable files do not need. Failed writes raise a UserError.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file and cannot be replaced: {advice}.")
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
    """Yield an empty folder of ``path``'s name, which the caller renames to ``path``.

    It lies in a hidden folder next to ``path``, deleted afterwards. Missing parent folders are
    created. Failures raise a UserError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        around = Path(tempfile.mkdtemp(prefix=f".{path.name}-unfinished-", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error, advice) from error
    try:
        # One level deeper, since other users cannot open mkdtemp's folder.
        folder = around / path.name
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(around, ignore_errors=True)


@contextmanager
def locked(path: Path, advice: str = OTHER_FOLDER) -> Iterator[None]:
    """Lock ``path`` against other processes of this machine, which wait.

    Raises:
        UserError: If nothing can be written next to ``path``.
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
    """Replace a file by a UTF-8 text; raise a UserError if it cannot be written or is a folder."""
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: give the name of a file, such as {path / 'report.md'}."
        )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_text(path: Path) -> str:
    """Return a file's UTF-8 text; raise a UserError if it is missing, unreadable or not UTF-8."""
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
