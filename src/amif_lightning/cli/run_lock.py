"""At most one `fit` trains in a run folder at a time."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from amif_lightning.errors import UserError

_LOCK, _OWNER = ".fit.lock", ".fit.owner"
#: Files of this module, for the list of files that a run writes.
LOCK_FILES = (_LOCK, _OWNER)


class RunLock:
    """A lock on a run folder, released when the process ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / _LOCK)

    def check(self) -> None:
        """Raise a UserError if another process trains in the folder; create nothing."""
        if (self._folder / _LOCK).exists():
            self.acquire()

    def acquire(self) -> None:
        """Lock the folder, created if needed; a UserError if another process holds the lock."""
        self._folder.mkdir(parents=True, exist_ok=True)
        owner = self._folder / _OWNER
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            # The owner writes its name after locking.
            name = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            raise UserError(
                f"{self._folder}: {name} is training there; wait for it, or give another "
                "--experiment or --seed_everything."
            ) from None
        start = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        owner.write_text(
            f"process {os.getpid()} on {socket.gethostname()}, started {start},", encoding="utf-8"
        )

    def release(self) -> None:
        """Unlock the folder, if it was locked."""
        self._lock.release(force=True)
