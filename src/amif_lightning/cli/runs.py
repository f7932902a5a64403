"""The run folder: where it lies, what it holds, and when an earlier run must not be overwritten."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from amif_lightning.errors import UserError

NAMED_CHECKPOINTS = ("best", "last")
# --overwrite deletes these and nothing else. What the suite writes besides is the count of tests
# (reports/records/test_counter.py), which must outlive the run.
_WRITTEN = (
    "config.yaml",
    "hparams.yaml",
    "*.ckpt",
    "result-*.json",
    "predictions-*.jsonl",
    "studies-*.jsonl",
    "answers-*.jsonl",
    "superseded-*",
    "events.out.tfevents.*",
    "scores/events.out.tfevents.*",
)


@dataclass(frozen=True)
class RunFolder:
    """``<runs>/<experiment>/<protocol>/seed<k>`` (docs/cli.md, "Run folder").

    Attributes:
        path: The folder; it need not exist yet.
    """

    path: Path

    @classmethod
    def of(cls, runs: str, experiment: str, protocol: str, seed: int) -> RunFolder:
        """The folder of one run.

        Raises:
            UserError: If the experiment is not a plain folder name.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", experiment):
            raise UserError(
                f"--experiment {experiment!r} is not a folder name: use letters, digits, `.`, `_` "
                "and `-`."
            )
        return cls(Path(runs) / experiment / protocol / f"seed{seed}")

    @property
    def checkpoints(self) -> list[Path]:
        """All checkpoints, ``best.ckpt`` before ``last.ckpt``."""
        return sorted(self.path.glob("*.ckpt"))

    @property
    def resumable(self) -> str | None:
        """``last``, or ``best`` of a run that was stopped before its first epoch ended."""
        names = [name for name in ("last", "best") if (self.path / f"{name}.ckpt").is_file()]
        return names[0] if names else None

    @property
    def results(self) -> list[Path]:
        """The result records; a run that has one is finished."""
        return sorted(self.path.glob("result-*.json"))

    def checkpoint(self, name: str | None) -> str | None:
        """The path behind ``--ckpt_path``: ``best`` or ``last``, a path, an address, or None.

        Lightning itself looks for ``last`` and ``best`` among the checkpoints of this process only;
        in a new process it would train from scratch with a warning, or raise.

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
        if not Path(name).is_file():
            raise UserError(
                f"--ckpt_path {name}: there is no such file; give a path, `best` or `last`."
            )
        return name

    def check_fit(self, ckpt_path: str | None, *, overwrite: bool) -> None:
        """Refuse a ``fit`` that would silently replace an earlier run.

        Args:
            ckpt_path: The checkpoint that ``fit`` starts from, as :meth:`checkpoint` returned it.
            overwrite: Whether the user asked for the earlier run to be deleted.

        Raises:
            UserError: If the folder holds a run, and neither ``--overwrite`` is given nor a
                checkpoint of this folder to resume from.
        """
        resumes = ckpt_path is not None and Path(ckpt_path).resolve().parent == self.path.resolve()
        if overwrite and resumes:
            raise UserError(
                f"--overwrite would delete {ckpt_path}, which --ckpt_path resumes from: give one "
                "of the two."
            )
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
        """Refuse to score other weights than those of this folder by a forgotten ``--ckpt_path``.

        Raises:
            UserError: If there is none, although the folder holds what was trained.
        """
        names = [path.stem for path in self.checkpoints if path.stem in NAMED_CHECKPOINTS]
        if ckpt_path is None and names:
            raise UserError(
                f"`{command}` without --ckpt_path would not use what was trained in {self.path}: "
                f"give --ckpt_path {names[0]}, or another --experiment."
            )

    def set_aside(self) -> None:
        """Rename records and predictions, and keep a copy of the weights that were scored.

        Training a finished run further replaces ``best.ckpt``, and the record would then speak of
        weights that no longer exist.
        """
        lines = [
            path
            for kind in ("predictions", "studies")
            for path in sorted(self.path.glob(f"{kind}-*.jsonl"))
        ]
        files = [*self.results, *lines]
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
                f"to superseded-{number}-*, which `report` passes over, and best.ckpt copied to "
                "such a name; test again afterwards"
            )

    def clear(self) -> None:
        """Delete what an earlier run wrote here and nothing else, and say so."""
        files = {path for pattern in _WRITTEN for path in self.path.glob(pattern)}
        for path in files:
            path.unlink()
        for folder in {path.parent for path in files} - {self.path}:
            if not any(folder.iterdir()):
                folder.rmdir()
        if files:
            print(f"--overwrite: {len(files)} files of an earlier run deleted in {self.path}")
