"""Read checkpoints and files of weights: undamaged, and without running code from them."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import torch
from fsspec.implementations.local import LocalFileSystem

from amif_lightning.errors import UserError, first_line
from amif_lightning.renamed_options import current_arguments

_SCHEME = "://"
_ZIP = b"PK"  # the start of every zip archive
_UNENCRYPTED = ("http", "ftp")
_OURS = "give a checkpoint that `fit` wrote"
_ANEW = "or make it anew"
_BY_HAND = "or copy the file to this machine and give its path"


def is_address(source: str | Path) -> bool:
    """Return whether a checkpoint lies at an address such as ``s3://bucket/best.ckpt``."""
    return _SCHEME in str(source)


@contextmanager
def local_file(source: str | Path) -> Iterator[Path]:
    """Yield the path of a file; one at an address lies in a temporary folder meanwhile.

    Raises:
        UserError: If an address is not encrypted or cannot be fetched.
    """
    if not is_address(source):
        yield Path(source)
        return
    address = str(source)
    if address.partition(_SCHEME)[0].lower() in _UNENCRYPTED:
        raise UserError(
            f"{address} is not encrypted, so others could replace the file on its way: give an "
            f"address of https, {_BY_HAND}."
        )
    if "::" in address:  # fsspec would open the inner address, such as one of http
        raise UserError(
            f"{address} is a chain of addresses: give the address of the file alone, {_BY_HAND}."
        )
    try:
        system, name = fsspec.core.url_to_fs(address)
    except Exception as error:  # each protocol has its own package and checks
        raise UserError(
            f"{address} cannot be opened ({first_line(error)}): install the protocol's package, "
            f"{_BY_HAND}."
        ) from error
    if isinstance(system, LocalFileSystem):
        yield Path(name)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        try:
            system.get_file(name, str(copy))
        except Exception as error:  # each protocol raises its own types
            raise UserError(
                f"{address} cannot be fetched ({first_line(error)}): check the address, {_BY_HAND}."
            ) from error
        yield copy


def check_archive(path: Path, source: str | Path) -> None:
    """Compare every member of a torch archive with its checksum, which ``torch.load`` does not.

    Args:
        path: The file, a zip archive.
        source: Its name in an error.

    Raises:
        UserError: If a member is damaged, or compressed: torch would map its compressed bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            packed = [one for one in members if one.compress_type != zipfile.ZIP_STORED]
            damaged = None if packed else archive.testzip()
    except Exception as error:  # damaged headers raise many types
        raise UserError(
            f"{source} is damaged or truncated ({first_line(error)}): copy it again, {_ANEW}."
        ) from error
    if packed:
        raise UserError(
            f"{source} was compressed after torch wrote it (its member {packed[0].filename}): copy "
            "the original file."
        )
    if damaged is not None:
        raise UserError(
            f"{source} is damaged (its member {damaged} differs from its checksum): copy it again, "
            f"{_ANEW}."
        )


def check_weights(path: Path) -> None:
    """Check a file of pretrained weights, or all files of a folder, as :func:`check_archive`.

    Only torch archives have checksums; other files, and a path that does not exist, are skipped.
    """
    for file in sorted(path.glob("*")) if path.is_dir() else [path]:
        if file.is_file() and _start(file) == _ZIP:
            check_archive(file, file)


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(2)


def read_checkpoint(source: str | Path, *, mmap: bool = True) -> dict[str, Any]:
    """Read a checkpoint without running code from it, under current option names.

    Args:
        source: A path, or an address of a protocol that fsspec knows.
        mmap: Whether to map tensors into memory, for callers that need few of them or not for long.

    Raises:
        UserError: If it is missing, damaged or no checkpoint, contains anything but plain types, or
            a weight is not finite.
    """
    with local_file(source) as path:
        _check_kind(path, source)
        check_archive(path, source)
        try:
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as error:  # anything that torch's unpickler or zip reader raises
            raise _unreadable(path, source, error) from error
    return _checked(loaded, source)


def _check_kind(path: Path, source: str | Path) -> None:
    """Raise a UserError unless the path is a zip archive, as ``torch.save`` writes it."""
    if os.path.isdir(path):  # Path raises an error for a name that is too long
        raise UserError(
            f"The checkpoint {source} is a folder: give a file in it, such as best.ckpt."
        )
    if not os.path.isfile(path):
        raise UserError(f"The checkpoint {source} does not exist: check the path.")
    start = _start(path)
    if start == _ZIP:
        return
    if not start:
        raise UserError(f"The checkpoint {source} is empty: copy it again, {_ANEW}.")
    if start[:1] == b"\x80":  # of every pickle
        raise _objects(source, "")
    raise UserError(f"{source} is not a checkpoint (not an archive of torch.save): {_OURS}.")


def _unreadable(path: Path, source: str | Path, error: Exception) -> UserError:
    """Tell refused Python objects from files that are no checkpoints."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # TorchScript, another archive, or a pickle that cannot be parsed
        names = []
    if names:
        return _objects(source, f" ({', '.join(names[:3])}{', ...' if names[3:] else ''})")
    return UserError(f"{source} is not a checkpoint ({first_line(error)}): {_OURS}.")


def _objects(source: str | Path, names: str) -> UserError:
    return UserError(
        f"{source} contains Python objects{names}, which are not loaded because this can run code "
        f"from the file: {_OURS}, or ask its author for tensors and plain types alone."
    )


def _checked(loaded: Any, source: str | Path) -> dict[str, Any]:
    """Check the parts that every reader uses, and rename old options."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # models/ imports this file

    state = loaded.get("state_dict") if isinstance(loaded, dict) else None
    if not isinstance(state, Mapping):
        raise UserError(f"{source} holds no state_dict: {_OURS}.")
    for name, value in state.items():
        if not (isinstance(value, torch.Tensor) and bool(value.isfinite().all())):
            raise UserError(
                f"{source} holds weights that are not finite numbers, such as {name}: its training "
                "diverged, so give an earlier checkpoint."
            )
    checkpoint: dict[str, Any] = loaded
    stored = checkpoint.get("hyper_parameters", {})
    if not isinstance(stored, Mapping):
        raise UserError(f"{source} holds no names of its hyper_parameters: {_OURS}.")
    now = current_arguments(stored)
    if list(now) != list(stored):
        checkpoint["hyper_parameters"] = now
        rank_zero_warn(f"{source} contains old option names; the current names are used.")
    return checkpoint
