"""Fresh interpreters, for commands that start processes or exit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules.phantom.generate import generate
from tests.small import RUN_OPTIONS, SIZES

PROJECT = Path(__file__).parents[1]


def python(*words: str) -> str:
    """Output of a fresh interpreter on both streams; it must succeed."""
    paths = os.pathsep.join((str(PROJECT / "src"), str(PROJECT)))
    done = subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def phantom_folder(base: Path) -> Path:
    """The folder with a few generated phantoms."""
    train, validation, test = SIZES.values()
    sizes = {"train": train, "validation": validation, "test": test}
    generate(base / "phantom", 0, sizes, progress=False)  # type: ignore[arg-type]  # str keys
    return base


def phantom_words(
    folder: Path, configs: Sequence[str], command: str, experiment: str, *more: str
) -> list[str]:
    """A quiet command line over these phantoms: a small network and four steps.

    Args:
        folder: From :func:`phantom_folder`; runs are written below it.
        configs: Configurations below ``experiments/``.
        command: ``fit`` or ``test``.
        experiment: Name of the run.
        *more: Further options.
    """
    return [
        command,
        *(f"--config={PROJECT / 'experiments' / name}" for name in configs),
        *RUN_OPTIONS,
        "--model.init_args.text_layers=1",
        "--data.init_args.batch_size=4",
        f"--data.init_args.root={folder / 'phantom'}",
        f"--runs={folder / 'runs'}",
        f"--experiment={experiment}",
        "--trainer.max_steps=4",
        "--trainer.val_check_interval=4",
        *more,
    ]
