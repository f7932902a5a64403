"""Fresh interpreters, for what a process does once: start others, or exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def python(*words: str) -> str:
    """What a fresh interpreter prints on both streams; it has to succeed."""
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
