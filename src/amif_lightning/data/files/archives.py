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
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tqdm import tqdm

from amif_lightning.data.files.atomic import new_folder
from amif_lightning.errors import UserError, first_line

#: Limits of what an archive may become. Images hardly shrink, texts shrink to a tenth: a release
#: that grows more than this is none.
MOST_MEMBERS = 5_000_000
MOST_GROWTH = 100
FREE_GROWTH = 2**28  # bytes below which growth is nobody's concern

_CHUNK = 2**20
_ADVICE = "make room or choose another folder"
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


@dataclass(frozen=True)
class _Member:
    """One file of an archive, with the size that it claims."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file's name says that it is an archive that can be unpacked."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"))


def stem(name: str) -> str:
    """An archive's file name without its ending."""
    return re.sub(r"(?i)(\.tar\.(gz|xz|bz2)|\.tgz|\.tar|\.zip)$", "", name)


def extract(archive: Path, target: Path) -> None:
    """Unpack an archive into a new folder, whole or not at all.

    An archive whose only entry is a folder of the target's name becomes that folder. Nothing
    happens where ``target`` is there already.

    Raises:
        UserError: If the archive (zip, or tar plain or compressed) is missing, damaged, encrypted
            or none; if a member would lie outside the folder, is a link or a device, or is there
            twice; if it grows beyond any release's measure; or if there is no room for it.
    """
    if target.exists():
        return
    if not archive.is_file():
        raise UserError(f"The archive {archive} does not exist: check the folder.")
    try:
        with new_folder(target, _ADVICE) as folder:
            with _members(archive) as members:
                _write(archive, members, folder)
            inner = list(folder.iterdir())
            only = inner[0] if len(inner) == 1 and inner[0].name == target.name else folder
            os.replace(only, target)
    except _BROKEN as error:
        raise _refused(archive, f"is damaged or no archive ({first_line(error)})") from error
    except OSError as error:
        if error.errno is None:  # of gzip and bz2 about their data, not of the system
            raise _refused(archive, f"is damaged or no archive ({first_line(error)})") from error
        reason = error.strerror or str(error)
        raise UserError(f"{archive} cannot be unpacked ({reason}): {_ADVICE}.") from error


def _write(archive: Path, members: list[_Member], folder: Path) -> None:
    packed = archive.stat().st_size
    claimed = sum(member.size for member in members)
    if len(members) > MOST_MEMBERS or claimed > MOST_GROWTH * packed + FREE_GROWTH:
        what = f"holds {len(members)} files of {claimed} bytes, far more than its own {packed} can"
        raise _refused(archive, f"{what} be")
    free = shutil.disk_usage(folder).free
    if claimed > free:
        need = f"{archive} needs {claimed / 2**30:.1f} GiB and {folder.parent} has"
        raise UserError(f"{need} {free / 2**30:.1f}: {_ADVICE}.")
    with tqdm(
        total=claimed, desc=archive.name, unit="B", unit_scale=True, disable=None
    ) as bar:  # None: quiet where nobody watches
        for member in members:
            _write_member(archive, member, folder / _inside(archive, member.name))
            bar.update(member.size)


def _write_member(archive: Path, member: _Member, file: Path) -> None:
    """No more than the claimed size is read: zipfile stops there and compares the checksum."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        sink = file.open("xb")
    except FileExistsError as error:
        raise _refused(archive, f"holds {member.name} twice") from error
    with member.open() as source, sink:
        shutil.copyfileobj(source, sink, _CHUNK)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """The files of an archive, folders and litter left out."""
    with contextlib.ExitStack() as stack:
        if zipfile.is_zipfile(archive):
            found = _zipped(archive, stack.enter_context(zipfile.ZipFile(archive)))
            yield [member for member in found if _is_wanted(member)]
        else:
            stream = stack.enter_context(_plain(archive))
            tarred = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
            yield [member for member in _tarred(archive, tarred) if _is_wanted(member)]
            _check_end(stream, tarred)


def _is_wanted(member: _Member) -> bool:
    return _LITTER.isdisjoint(PurePosixPath(member.name).parts)


def _zipped(archive: Path, packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        if info.flag_bits & 1:
            raise UserError(
                f"{archive} is encrypted, and a password cannot be given here: unpack it by hand."
            )
        kind = (info.external_attr >> 16) & 0o170000  # of a file made on Unix, else 0
        if kind not in (0, 0o100000, 0o040000):
            raise _refused(
                archive, f"has the member {info.filename!r}, which is a link or a device"
            )
        if not info.is_dir():
            yield _Member(info.filename, info.file_size, partial(packed.open, info))


def _tarred(archive: Path, packed: tarfile.TarFile) -> Iterator[_Member]:
    for info in packed.getmembers():
        if info.isreg():
            content = partial(packed.extractfile, info)  # None only for what is no regular file
            yield _Member(info.name, info.size, cast(Callable[[], IO[bytes]], content))
        elif not info.isdir():
            raise _refused(archive, f"has the member {info.name!r}, which is a link or a device")


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
    stream.seek(-(-end // block) * block)
    last = stream.read(block)
    sparse = any(member.issparse() for member in packed)
    if not sparse and (len(last) < block or any(last)):  # a tar file ends with zeros
        raise tarfile.ReadError("unexpected end of data")
    while stream.read(_CHUNK):
        pass


def _inside(archive: Path, name: str) -> Path:
    """A member's place below the folder; archivers of Windows write backslashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or not path.parts:
        raise _refused(archive, f"has the member {name!r}, which lies outside the folder")
    return Path(*path.parts)


def _refused(archive: Path, what: str) -> UserError:
    return UserError(f"{archive} {what}: download it again.")
