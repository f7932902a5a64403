"""Write files and folders completely or not at all, and lock them.

``advice`` ends the error sentence: what to do if the path is not writable.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from amif_lightning.errors import UserError, errors_behind

OTHER_FOLDER = "choose another folder"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path, advice: str = OTHER_FOLDER, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename that file to ``path`` afterwards.

    Missing folders are created. ``sync`` flushes the content to disk before the rename, which many
    small regenerable files do not need. Failed writes raise a UserError.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file and cannot be replaced: {advice}.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if sync:
            with temporary.open("r+b") as stream:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch.save replaces the stream's OSError by a RuntimeError of its zip writer.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise unwritable(path, cause, advice) from error
    finally:
        with contextlib.suppress(OSError):  # renamed, or never written
            temporary.unlink()


def remove_left_behind(folder: Path, name: str = "*", *, exclusive: bool = False) -> None:
    """Remove and print temporary files that killed processes left (see :func:`replacing`).

    Files of running processes are kept.

    Args:
        folder: The folder of the files.
        name: Pattern of the names of the files that were to be written.
        exclusive: Whether the caller holds a lock that excludes all other writers of these files.
            If not, files of other machines are kept, since their processes are not seen here.
    """
    here = socket.gethostname()
    for path in sorted(folder.glob(f".{name}.*.tmp")):
        writer = re.search(r"\.([0-9]+)(?:@(.+))?\.tmp$", path.name)
        if writer is None:
            continue
        local = writer[2] in (here, None)  # None: files of earlier versions
        if _runs(int(writer[1])) if local else not exclusive:
            continue
        with contextlib.suppress(OSError):  # of another user
            size = path.stat().st_size
            path.unlink()
            print(f"{path} removed ({_megabytes(size)}): a killed process left it", flush=True)


def _runs(process: int) -> bool:
    """Return whether another process has this number; ours was another's before a restart."""
    if process == os.getpid():
        return False
    if os.name != "posix":  # where signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    return True


def no_space(error: BaseException | None) -> OSError | None:
    """Return the error of a full disk, quota or size limit that led to ``error``."""
    for cause in errors_behind(error):
        if isinstance(cause, OSError) and cause.errno in _NO_SPACE:
            return cause
    return None


def unwritable(path: Path, error: OSError, advice: str) -> UserError:
    """Return the error of a failed write; it gives the free space if the disk may be full."""
    reason = error.strerror or str(error)
    if error.errno is None or error.errno in _NO_SPACE:  # Pillow's errors have no number
        with contextlib.suppress(OSError):
            reason += f"; {_megabytes(shutil.disk_usage(path.parent).free)} free"
    return UserError(f"{path} cannot be written ({reason}): {advice}.")


def check_room(what: str, folder: Path, needed: int, advice: str) -> None:
    """Raise a UserError unless the disk of a folder, which need not exist, has the needed bytes."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"{what} needs {_megabytes(needed)} and {there} has {_megabytes(free)} free: {advice}."
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


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
        raise unwritable(path, error, advice) from error
    try:
        # One level deeper, since other users cannot open mkdtemp's folder.
        folder = around / path.name
        folder.mkdir()
        yield folder
    except OSError as error:
        if no_space(error) is None:  # of another file, which the caller explains
            raise
        raise unwritable(path, error, advice) from error
    finally:
        shutil.rmtree(around, ignore_errors=True)


@contextmanager
def locked(path: Path, advice: str = OTHER_FOLDER) -> Iterator[None]:
    """Lock ``path`` against other processes of this machine, which wait.

    Temporary files that a killed process left of it are removed.

    Raises:
        UserError: If nothing can be written next to ``path``.
    """
    lock = FileLock(path.with_name(f".{path.stem}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise unwritable(path, error, advice) from error
    try:
        remove_left_behind(path.parent, glob.escape(path.name))
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
