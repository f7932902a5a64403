"""Unpack archives of data sets, and write nothing outside the target folder."""

from __future__ import annotations

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
from typing import IO, Any

from tqdm import tqdm

from amif_lightning.data.files.atomic import new_folder
from amif_lightning.data.files.names import inside
from amif_lightning.errors import UserError, first_line

#: Limits on the unpacked size. Images hardly shrink and texts shrink to a tenth, so no release
#: exceeds these.
MAX_MEMBERS = 5_000_000
MAX_GROWTH = 100
FREE_GROWTH = 2**28  # bytes that any archive may grow by

_ADVICE = "make room or choose another folder"
# Left by the archivers of desktop systems, not part of any release.
_LITTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db"})
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    IndexError,  # zipfile's, for a member without a name
    NotImplementedError,  # a compression that this Python cannot read
    ValueError,
)


@dataclass(frozen=True)
class _Member:
    """A file of an archive; the archive may report a wrong ``size``."""

    name: str
    size: int
    open: Callable[[], Any]


def is_archive(path: Path) -> bool:
    """Return whether the name is that of a supported archive."""
    return stem(path.name) != path.name


def stem(name: str) -> str:
    """Return an archive's file name without its suffix."""
    return re.sub(r"(?i)(\.tar\.(gz|xz|bz2)|\.tgz|\.tar|\.zip)$", "", name)


def extract(archive: Path, target: Path) -> None:
    """Unpack a zip or tar archive into a new folder, completely or not at all.

    An archive that contains only a folder of the target's name becomes that folder. An existing
    ``target`` is kept.

    Raises:
        UserError: If the archive is missing, empty, damaged, encrypted, of another kind or larger
            than the limits above; if a member lies outside the folder, is a link or a device, or
            occurs twice; or if the disk is full.
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
    except (*_BROKEN, OSError) as error:
        # gzip and bz2 report damaged data as an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            reason = error.strerror or str(error)
            raise UserError(f"{archive} cannot be unpacked ({reason}): {_ADVICE}.") from error
        raise _refused(archive, f"is damaged or no archive ({first_line(error)})") from error


def _write(archive: Path, members: list[_Member], folder: Path) -> None:
    if not members:
        raise _refused(archive, "contains no file")
    packed = archive.stat().st_size
    claimed = sum(member.size for member in members)
    if len(members) > MAX_MEMBERS or claimed > MAX_GROWTH * packed + FREE_GROWTH:
        what = f"holds {len(members)} files of {claimed} bytes, far more than its own {packed} can"
        raise _refused(archive, f"{what} be")
    with tqdm(
        total=claimed, desc=archive.name, unit="B", unit_scale=True, disable=None
    ) as bar:  # None: hidden without a terminal
        for member in members:
            file = folder / _inside(archive, member.name)
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                raise _refused(archive, f"holds {member.name} twice")
            # Read at most the claimed size: zipfile stops there and compares the checksum.
            with member.open() as source, file.open("xb") as sink:
                shutil.copyfileobj(source, sink, 2**20)
            bar.update(member.size)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """The files of an archive, without folders and files of desktop systems."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield [member for member in _zipped(archive, packed) if _is_wanted(member)]
    else:
        with tarfile.open(archive) as packed:
            yield [member for member in _tarred(archive, packed) if _is_wanted(member)]
            _check_end(packed)


def _is_wanted(member: _Member) -> bool:
    return _LITTER.isdisjoint(PurePosixPath(member.name).parts)


def _zipped(archive: Path, packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        if info.flag_bits & 1:
            raise UserError(
                f"{archive} is encrypted, and passwords are not supported: unpack it by hand."
            )
        kind = (info.external_attr >> 16) & 0o170000  # of a file made on Unix, else 0
        if kind not in (0, 0o100000, 0o040000):
            raise _special(archive, info.filename)
        if not info.is_dir():
            yield _Member(info.filename, info.file_size, partial(packed.open, info))


def _tarred(archive: Path, packed: tarfile.TarFile) -> Iterator[_Member]:
    for info in packed.getmembers():
        if info.isreg() and not info.issparse():
            yield _Member(info.name, info.size, partial(packed.extractfile, info))
        elif not info.isdir():
            raise _special(archive, info.name)


def _check_end(packed: tarfile.TarFile) -> None:
    """Refuse a truncated tar file or a wrong checksum, which tarfile does not detect."""
    stream: IO[bytes] = packed.fileobj  # type: ignore[assignment]  # an open file has one
    block = tarfile.BLOCKSIZE
    end = max((m.offset_data + m.size for m in packed), default=0)
    stream.seek(-(-end // block) * block)
    last = stream.read(block)
    if len(last) < block or any(last):  # a tar file ends with zeros
        raise tarfile.ReadError("unexpected end of data")
    while stream.read(2**20):
        pass


def _inside(archive: Path, name: str) -> Path:
    """A member's path below the folder; Windows archivers write backslashes."""
    name = name.replace("\\", "/")
    # tarfile decodes names that are not UTF-8 with surrogates, which the file system takes.
    if inside(os.fsencode(name).decode(errors="replace")) is None:
        what = f"has the member {name[:200]!r}, which lies outside the folder or has no valid name"
        raise _refused(archive, what)
    return Path(name)


def _special(archive: Path, name: str) -> UserError:
    return _refused(archive, f"has the member {name!r}, which is not a regular file")


def _refused(archive: Path, what: str) -> UserError:
    return UserError(f"{archive} {what}: download it again.")
