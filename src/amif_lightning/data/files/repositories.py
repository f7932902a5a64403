"""Fetch and verify files of one revision of a repository on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from amif_lightning.data.files.atomic import check_room
from amif_lightning.errors import UserError, first_line
from amif_lightning.hub import unreachable


def fetch_repository(
    name: str,
    folder: Path,
    wanted: Sequence[str],
    *,
    kind: Literal["dataset", "model"],
    one_of: Sequence[str] = (),
    checksum: bool = True,
) -> str:
    """Fetch the files that match ``wanted``, and the first of ``one_of``; return the revision.

    Complete files are kept and interrupted ones are continued.

    Raises:
        UserError: If the hub does not answer, a file is missing or damaged, or the disk is full.
    """
    from huggingface_hub import HfApi, is_offline_mode, snapshot_download

    if is_offline_mode():
        raise UserError(
            f"{name} cannot be fetched because HF_HUB_OFFLINE is set: unset it and run the command "
            "again."
        )
    if (reason := unreachable()) is not None:
        raise UserError(
            f"{name} cannot be fetched because {reason}: check the connection, the proxy and "
            "HF_ENDPOINT, or run the command on a machine with network."
        )
    api = HfApi()
    try:
        info: Any = api.repo_info(name, repo_type=kind)
        if one_of:
            names = {file.rfilename for file in info.siblings or ()}
            found = [file for file in one_of if file in names]
            if not found:
                raise UserError(
                    f"The repository {name} has none of the files {', '.join(one_of)}: check its "
                    "page on the Hugging Face hub."
                )
            wanted = [*wanted, found[0]]
        where: Any = {"repo_type": kind, "revision": info.sha, "local_dir": folder}
        plan = snapshot_download(name, allow_patterns=list(wanted), dry_run=True, **where)
        needed = sum(file.file_size or 0 for file in plan if file.will_download)
        check_room(name, folder, needed, "make room or choose another folder")
        snapshot_download(name, allow_patterns=list(wanted), **where)
        if checksum:
            verified = api.verify_repo_checksums(name, **where)
    except UserError:
        raise
    except Exception as error:  # the library passes on any error of its HTTP client
        raise UserError(
            f"{name} cannot be fetched from the Hugging Face hub ({first_line(error)}): "
            "check the connection and run the command again, which continues where it stopped."
        ) from error
    if checksum and verified.mismatches:
        path = folder / verified.mismatches[0]["path"]
        raise UserError(
            f"{path} does not have the checksum published on the hub, so it is damaged or was "
            f"changed: delete {path} and run the command again."
        )
    return str(info.sha)
