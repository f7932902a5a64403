"""Provenance of a run: source commit, package versions, machine and time."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from amif_lightning.reports.records.run import Hardware

# Distributions whose version can change a number.
PACKAGES = (
    "amif-lightning",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "geomloss",
    "open_clip_torch",
    "timm",
    "transformers",
    "tokenizers",
    "pillow",
    "numpy",
)


def git_state(folder: Path | None = None) -> tuple[str | None, bool | None]:
    """Return the commit of the source tree, and whether its tracked files differ from it.

    ``(None, None)`` if git does not track ``folder`` (default: this package's), as for a copy
    installed inside another project's work tree.
    """
    folder = folder or Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or not _git(folder, "ls-files", "."):
        return None, None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # git is not installed, or the folder is not a work tree
    return done.stdout.strip()


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of each distribution that is installed."""
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine(gpu: str | None = None, devices: int = 1) -> Hardware:
    """Describe this machine; the caller names the accelerator and the number of devices."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Hardware(
        cpu=_cpu_model(), cores=cores or 1, memory_gib=_memory_gib(), gpu=gpu, devices=devices
    )


def now() -> str:
    """Return the time, ISO 8601 in UTC with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown processor"


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None  # not on this system
    return round(size / 2**30, 1)
