"""Writing a text file so that a reader sees the old content or the new one, never a half."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from amif_lightning.errors import UserError


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
