"""The run folder: its place, its files, and the protection of earlier runs."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from amif_lightning.data.files.atomic import remove_left_behind, unwritable
from amif_lightning.errors import UserError

_LOCK, _OWNER = LOCK_FILES = ".fit.lock", ".fit.owner"
MAX_SEED = 2**32 - 1  # NumPy's
NAMED_CHECKPOINTS = ("best", "last")
# --overwrite deletes only these files; it keeps the count of tests (reports/records/store.py).
_WRITTEN = (
    "config.yaml",
    "hparams.yaml",
    "*.ckpt",
    "result-*.json",
    "predictions-*.jsonl",
    "studies-*.jsonl",
    "answers-*.jsonl",
    "answers-*.csv",
    "superseded-*",
    "non-finite-batch*.json",
    "events.out.tfevents.*",
    "scores/events.out.tfevents.*",
)


@dataclass(frozen=True)
class RunFolder:
    """``<runs>/<experiment>/<protocol>/seed<k>``, which need not exist yet (docs/cli.md)."""

    path: Path

    @classmethod
    def of(cls, runs: str, experiment: str, protocol: str, seed: int) -> RunFolder:
        """Return the folder of a run; a UserError if the experiment is not a plain folder name."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{,199}", experiment):
            raise UserError(
                f"--experiment {experiment[:40]!r} is not a folder name: use at most 200 letters, "
                "digits and `._-`."
            )
        if not runs.strip():
            raise UserError("--runs is empty: give a folder, such as `runs`.")
        return cls(Path(runs) / experiment / protocol / f"seed{seed}")

    @property
    def checkpoints(self) -> list[Path]:
        """All checkpoints, sorted by name."""
        return sorted(self.path.glob("*.ckpt"))

    @property
    def resumable(self) -> str | None:
        """``last``, or ``best`` of a run that was interrupted in its first epoch."""
        names = [name for name in ("last", "best") if (self.path / f"{name}.ckpt").is_file()]
        return names[0] if names else None

    @property
    def results(self) -> list[Path]:
        """The result records, which only a finished run has."""
        return sorted(self.path.glob("result-*.json"))

    def checkpoint(self, name: str | None) -> str | None:
        """Return the file of ``--ckpt_path``: ``best`` or ``last``, a path, an address, or None.

        Lightning would look for ``last`` and ``best`` among the checkpoints of this process only.

        Raises:
            UserError: If there is no such file.
        """
        if name is None or "://" in name:
            return name
        if name in NAMED_CHECKPOINTS:
            path = self.path / f"{name}.ckpt"
            if not path.is_file():
                raise UserError(
                    f"--ckpt_path {name}: {self.path} holds no {name}.ckpt; run `fit` with the "
                    "same --runs, --experiment, protocol and seed first, or give a path."
                )
            return str(path)
        if not Path(name).exists():
            raise UserError(f"--ckpt_path {name}: no such file; give a path, `best` or `last`.")
        return name

    def check_fit(self, ckpt_path: str | None, *, overwrite: bool) -> None:
        """Raise a UserError if the folder contains a run, unless `fit` resumes or overwrites it."""
        resumes = ckpt_path is not None and Path(ckpt_path).resolve().parent == self.path.resolve()
        if overwrite and resumes:
            raise UserError(f"--overwrite would delete {ckpt_path}: give one of the two options.")
        if overwrite or resumes:
            return
        if self.results:
            raise UserError(
                f"{self.path} holds a finished run ({self.results[0].name}): give another "
                "--experiment or --seed_everything, `--overwrite` to delete it, or `--ckpt_path "
                "last` to train it further."
            )
        if self.checkpoints:
            name = self.resumable
            file = f"{name}.ckpt" if name else self.checkpoints[0].name
            raise UserError(
                f"{self.path} holds an unfinished run ({file}): give `--ckpt_path "
                f"{name or self.path / file}` to resume it, or `--overwrite` to start anew."
            )

    def check_scored(self, command: str, ckpt_path: str | None) -> None:
        """Raise a UserError if ``--ckpt_path`` is missing and the folder contains checkpoints."""
        names = [path.stem for path in self.checkpoints if path.stem in NAMED_CHECKPOINTS]
        if ckpt_path is None and names:
            raise UserError(
                f"`{command}` without --ckpt_path would not use the checkpoints in {self.path}: "
                f"give --ckpt_path {names[0]}, or another --experiment."
            )

    def set_aside(self) -> None:
        """Rename records and predictions, and copy their weights before training replaces them."""
        lines = [*self.path.glob("predictions-*.jsonl"), *self.path.glob("studies-*.jsonl")]
        files = [*self.results, *sorted(lines)]
        number = 1
        while any(self.path.glob(f"superseded-{number}-*")):
            number += 1
        best = self.path / "best.ckpt"
        if self.results and best.is_file():
            shutil.copy2(best, best.with_name(f"superseded-{number}-{best.name}"))
        for path in files:
            path.rename(path.with_name(f"superseded-{number}-{path.name}"))
        if files:
            print(
                f"{self.path} is trained further: {', '.join(path.name for path in files)} renamed "
                f"to superseded-{number}-*, which `report` ignores, and best.ckpt copied; test "
                "again afterwards"
            )

    def check_writable(self) -> None:
        """Raise a UserError unless files can be written in the folder; leave nothing there."""
        before = self.present()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.path):
                pass
        except (OSError, ValueError) as error:  # ValueError: a null byte
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"the run folder {str(self.path)[:200]} cannot be written ({reason}): give another "
                "--runs or --experiment."
            ) from error
        finally:
            self.forget(before)

    def present(self) -> frozenset[Path]:
        """Return the folder, its parents and its files, as far as they exist."""
        # os.path, because Path raises an error for a name that is too long.
        found = {path for path in (self.path, *self.path.parents) if os.path.exists(path)}
        return frozenset({*found, *(self.path.glob("*") if self.path in found else ())})

    def forget(self, before: frozenset[Path], *more: str) -> None:
        """Delete what a refused call of this process has made since ``before`` (:meth:`present`).

        These are logs, ``more`` files and empty folders: others may belong to a run that another
        process has started meanwhile.
        """
        for pattern in (f"events.out.tfevents.*.{os.getpid()}.*", "hparams.yaml", *more):
            for path in self.present() - before:
                if path.match(pattern):
                    path.unlink(missing_ok=True)
        for folder in (self.path, *self.path.parents):
            if os.path.isdir(folder):
                if folder in before or any(folder.iterdir()):
                    return
                folder.rmdir()

    def written(self) -> list[Path]:
        """List the files that runs of this suite have written in the folder."""
        return sorted({path for pattern in _WRITTEN for path in self.path.glob(pattern)})

    def clear(self, files: Iterable[Path]) -> None:
        """Delete files of an earlier run (:meth:`written`), and print their number."""
        files = set(files)
        for path in files:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in files} - {self.path}:
            if not any(folder.iterdir()):
                folder.rmdir()
        if files:
            print(f"--overwrite: {len(files)} files of an earlier run deleted in {self.path}")


class RunLock:
    """At most one ``fit`` trains in a run folder at a time; the lock ends with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / _LOCK)

    def check(self) -> None:
        """Raise a UserError if another process trains in the folder; create nothing."""
        if (self._folder / _LOCK).exists():
            self.acquire()

    def acquire(self) -> None:
        """Lock the folder, created if needed, and remove what a killed `fit` left half-written.

        Raises:
            UserError: If another process holds the lock, or the folder cannot be written.
        """
        owner = self._folder / _OWNER
        start = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        text = f"process {os.getpid()} on {socket.gethostname()}, started {start},"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
            owner.write_text(text, encoding="utf-8")
        except Timeout:
            # The owner writes its name after locking.
            name = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            raise UserError(
                f"{self._folder}: {name} is training there; wait for it, or give another "
                "--experiment or --seed_everything."
            ) from None
        except OSError as error:
            raise unwritable(self._folder, error, "choose another folder with --runs") from error
        remove_left_behind(self._folder, "*.ckpt", exclusive=True)  # only `fit` writes them
        remove_left_behind(self._folder)

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""
        return self._lock.is_locked

    def release(self) -> None:
        """Unlock the folder, if it was locked."""
        self._lock.release(force=True)
