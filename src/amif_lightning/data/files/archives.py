"""Unpack archives of data sets without trusting what they say of themselves."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from tqdm import tqdm

from amif_lightning.errors import UserError

#: Limits of what an archive may become. Images hardly shrink, texts shrink to a tenth: a release
#: that grows more than this is none.
MOST_MEMBERS = 5_000_000
MOST_GROWTH = 100
FREE_GROWTH = 2**28  # bytes below which growth is nobody's concern

_CHUNK = 2**20
# Left by the archivers of desktop systems, no part of any release.
_LITTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db"})
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that this Python cannot read
    ValueError,
)


class _Open(Protocol):
    def __call__(self) -> IO[bytes]: ...


@dataclass(frozen=True)
class _Member:
    """One file of an archive: its name, the size that it claims, and its content."""

    name: str
    size: int
    open: _Open


def is_archive(path: Path) -> bool:
    """Whether a file's name says that it is an archive that can be unpacked."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"))


def stem(name: str) -> str:
    """An archive's file name without its ending."""
    return re.sub(r"(?i)(\.tar\.(gz|xz|bz2)|\.tgz|\.tar|\.zip)$", "", name)


def extract(archive: Path, target: Path) -> None:
    """Unpack an archive into a new folder, whole or not at all.

    Files are written below a temporary folder beside ``target``, which is renamed at the end. An
    archive whose only entry is a folder of the target's name becomes that folder. Nothing happens
    where ``target`` is there already.

    Args:
        archive: A zip or tar file, the latter plain or compressed.
        target: The folder to make.

    Raises:
        UserError: If the archive is missing, damaged, encrypted or no archive; if a member would
            lie outside the folder, is a link or a device, or is there twice; if it grows beyond any
            release's measure; or if there is no room for it.
    """
    if target.exists():
        return
    if not archive.is_file():
        raise UserError(f"The archive {archive} does not exist: check the folder.")
    around: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        around = Path(tempfile.mkdtemp(prefix=f".{target.name}-unfinished-", dir=target.parent))
        # One level deeper: mkdtemp's folder is closed to other users and this one is not.
        temporary = around / target.name
        temporary.mkdir()
        with _members(archive) as members:
            _write(archive, members, temporary)
        inner = list(temporary.iterdir())
        only = inner[0] if len(inner) == 1 and inner[0].name == target.name else temporary
        os.replace(only, target)
    except OSError as error:
        if error.errno is None:  # of gzip and bz2 about their data, not of the system
            raise _damaged(archive, error) from error
        reason = error.strerror or str(error)
        raise UserError(
            f"{archive} cannot be unpacked into {target} ({reason}): make room or choose another "
            "folder."
        ) from error
    finally:
        if around is not None:
            shutil.rmtree(around, ignore_errors=True)


def _write(archive: Path, members: list[_Member], folder: Path) -> None:
    limit = MOST_GROWTH * archive.stat().st_size + FREE_GROWTH
    claimed = sum(member.size for member in members)
    if len(members) > MOST_MEMBERS or claimed > limit:
        raise UserError(
            f"{archive} holds {len(members)} files of {claimed} bytes, far more than its own "
            f"{archive.stat().st_size} can be: it is not the release, so download it again."
        )
    free = shutil.disk_usage(folder).free
    if claimed > free:
        raise UserError(
            f"{archive} needs {claimed / 2**30:.1f} GiB and {folder.parent} has "
            f"{free / 2**30:.1f}: make room or choose another folder."
        )
    with tqdm(
        total=claimed, desc=archive.name, unit="B", unit_scale=True, disable=None
    ) as bar:  # None: quiet where nobody watches
        for member in members:
            _write_member(archive, member, folder / _inside(archive, member.name), bar)


def _write_member(archive: Path, member: _Member, file: Path, bar: tqdm) -> None:
    written = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with member.open() as source, file.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                # A header may lie, so what counts is what is read.
                if written > member.size:
                    break
                sink.write(chunk)
                bar.update(len(chunk))
    except FileExistsError as error:
        raise UserError(
            f"{archive} holds {member.name} twice: it is not the release, so download it again."
        ) from error
    except _BROKEN as error:
        raise _damaged(archive, error) from error
    if written != member.size:
        raise UserError(
            f"{archive} is damaged ({member.name} has not the size that it claims): download it "
            "again."
        )


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """The files of an archive, folders and litter left out."""
    stream: IO[bytes] | None = None
    tarred: tarfile.TarFile | None = None
    with contextlib.ExitStack() as stack:
        try:
            if zipfile.is_zipfile(archive):
                packed = stack.enter_context(zipfile.ZipFile(archive))
                found = _zipped(archive, packed)
            else:
                stream = stack.enter_context(_plain(archive))
                tarred = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
                found = _tarred(archive, tarred)
        except _BROKEN as error:
            raise _damaged(archive, error) from error
        yield [m for m in found if _LITTER.isdisjoint(PurePosixPath(m.name).parts)]
        if tarred is not None and stream is not None:
            try:
                _check_end(stream, tarred)
            except _BROKEN as error:
                raise _damaged(archive, error) from error


def _zipped(archive: Path, packed: zipfile.ZipFile) -> list[_Member]:
    found = []
    for info in packed.infolist():
        if info.flag_bits & 1:
            raise UserError(
                f"{archive} is encrypted, and a password cannot be given here: unpack it by hand."
            )
        kind = (info.external_attr >> 16) & 0o170000  # of a file made on Unix, else 0
        if kind not in (0, 0o100000, 0o040000):
            raise _unsafe(archive, info.filename, "is a link or a device")
        if not info.is_dir():
            found.append(_Member(info.filename, info.file_size, lambda i=info: packed.open(i)))
    return found


def _tarred(archive: Path, packed: tarfile.TarFile) -> list[_Member]:
    found = []
    for info in packed.getmembers():
        if info.isdir():
            continue
        if not info.isreg():
            raise _unsafe(archive, info.name, "is a link or a device")
        found.append(_Member(info.name, info.size, lambda i=info: _content(packed, i)))
    return found


def _plain(archive: Path) -> IO[bytes]:
    """The bytes of a tar file, decompressed by what it begins with."""
    with archive.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(archive))
    if start.startswith(b"BZh"):
        return bz2.open(archive)
    if start == b"\xfd7zXZ\0":
        return lzma.open(archive)
    return archive.open("rb")


def _check_end(stream: IO[bytes], packed: tarfile.TarFile) -> None:
    """Refuse a tar file that ends too early or whose compression's checksum is wrong.

    tarfile takes a cut between two members, or a damaged header, for the end, and does not read as
    far as the checksum.
    """
    block = tarfile.BLOCKSIZE
    end = max((m.offset_data + (0 if m.issparse() else m.size) for m in packed), default=0)
    sparse = any(member.issparse() for member in packed)
    stream.seek(-(-end // block) * block)
    last = stream.read(block)
    if not sparse and (len(last) < block or any(last)):  # a tar file ends with zeros
        raise tarfile.ReadError("unexpected end of data")
    while stream.read(_CHUNK):
        pass


def _content(packed: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = packed.extractfile(info)
    assert content is not None  # None for what is no regular file, and others were refused
    return content


def _inside(archive: Path, name: str) -> Path:
    """A member's place below the folder; archivers of Windows write backslashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or not path.parts:
        raise _unsafe(archive, name, "lies outside the folder it is unpacked in")
    if "\0" in name:
        raise _unsafe(archive, name, "has a name that no file can have")
    return Path(*path.parts)


def _unsafe(archive: Path, name: str, what: str) -> UserError:
    return UserError(
        f"{archive} is not unpacked because its member {name!r} {what}: it is not the release, so "
        "download it again."
    )


def _damaged(archive: Path, error: Exception) -> UserError:
    what = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{archive} is damaged or no archive ({what}): download it again.")
