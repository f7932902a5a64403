"""Where a run came from: source commit, package versions, machine and time."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from amif_lightning.reports.records.run import Hardware

# Distributions whose version can move a number.
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
    """Commit of the source tree and whether its tracked files differ from it.

    Args:
        folder: A folder of the source tree; this package's own by default.

    Returns:
        ``(commit, dirty)``, or ``(None, None)`` where git does not track the folder. An installed
        copy inside somebody else's work tree must not borrow that tree's commit.
    """
    folder = folder or Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or not _git(folder, "ls-files", "."):
        return None, None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or no work tree: the record says null
    return done.stdout.strip()


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed version of each distribution, and of Python; absent ones are left out."""
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine(gpu: str | None = None, devices: int = 1) -> Hardware:
    """This machine.

    Args:
        gpu: Name of the accelerator, which only the caller's framework knows.
        devices: Number of processes or accelerators used.
    """
    return Hardware(
        cpu=_cpu_model(), cores=_cores(), memory_gib=_memory_gib(), gpu=gpu, devices=devices
    )


def now() -> str:
    """The present time, ISO 8601 in UTC with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform's own name follows
    return platform.processor() or platform.machine() or "unknown processor"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None  # systems without these counters
    return round(size / 2**30, 1)
