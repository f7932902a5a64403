"""Which teacher a configuration means: its name in files, and the teacher itself."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from amif_lightning.data.teacher.networks import (
    BIOMEDCLIP,
    MAX_TOKENS,
    CheckpointTeacher,
    OpenClipTeacher,
)
from amif_lightning.errors import UserError

_FOLDER = "local-dir:"


def open_teacher(
    kind: Literal["open_clip", "checkpoint"], source: str
) -> OpenClipTeacher | CheckpointTeacher:
    """Load a teacher, onto the GPU where there is one.

    Args:
        kind: ``open_clip``, or ``checkpoint`` for an earlier run.
        source: Hub name or ``local-dir:FOLDER`` (empty: BiomedCLIP), or the checkpoint's path.

    Raises:
        UserError: If it cannot be loaded.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "checkpoint":
        return CheckpointTeacher(Path(source)).to(device)
    return OpenClipTeacher(source or BIOMEDCLIP).to(device)


def teacher_name(kind: Literal["open_clip", "checkpoint"], source: str) -> str:
    """What stands for a teacher in the name of its files.

    Files on this machine are named by their content: a folder may be moved, and a run trained again
    writes another teacher under the old path.

    Raises:
        UserError: If the folder or the file is not there.
    """
    source = source or BIOMEDCLIP
    if kind == "open_clip" and not source.startswith(_FOLDER):
        return f"open_clip {source}, {MAX_TOKENS} tokens"
    path = Path(source.removeprefix(_FOLDER))
    if kind == "checkpoint":
        found = [path] if path.is_file() else []
    else:
        found = sorted(entry for entry in path.glob("*") if entry.is_file())
    if not found:
        raise UserError(
            f"The teacher {source} does not exist or is empty: check "
            "--data.init_args.teacher_source."
        )
    digest = hashlib.sha256()
    for entry in found:
        if kind == "open_clip":
            digest.update(entry.name.encode() + b"\n")
        digest.update(_content(entry, entry.stat().st_mtime_ns))
    return f"{kind} {path.name} of sha256 {digest.hexdigest()[:16]}, {MAX_TOKENS} tokens"


@cache
def _content(path: Path, modified: int) -> bytes:
    """The file's hash, computed once per process; ``modified`` tells a changed file apart."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
