"""Download one file so that it is whole, is the right one, and need not be begun anew."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tqdm import tqdm

from amif_lightning.errors import UserError

if TYPE_CHECKING:
    import requests

Algorithm = Literal["md5", "sha256", "git"]

_CHUNK = 2**16  # what a broken connection may lose
_TIMEOUT = (15, 60)  # seconds to connect, and of silence
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
#: Answers after which another attempt may succeed.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_HTML = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class RemoteFile:
    """A file that a publisher offers.

    Attributes:
        name: Where it is put, relative to the data set's folder, with forward slashes.
        url: Where it is.
        size: Its bytes; None where the publisher does not say.
        algorithm: How ``digest`` was made; ``git``: the id of a git blob. None without one.
        digest: The publisher's checksum, in hexadecimal.
    """

    name: str
    url: str
    size: int | None = None
    algorithm: Algorithm | None = None
    digest: str = ""


def session() -> requests.Session:
    """An HTTP session.

    Raises:
        UserError: If the package for it is not installed.
    """
    try:
        import requests
        from requests.adapters import HTTPAdapter
    except ImportError as error:
        raise UserError(
            "Downloads need the package requests: run `pip install 'amif-lightning[data]'`."
        ) from error

    class Local(HTTPAdapter):
        """Plain HTTP within this machine only; asked before each hop of a redirect is sent."""

        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]  # passed on as they come
            _only_safe(request.url or "", request.url or "")
            return super().send(request, **options)

    web = requests.Session()
    web.mount("http://", Local())
    return web


def download(
    file: RemoteFile, folder: Path, *, checksum: bool = True, attempts: int = 5, pause: float = 1.0
) -> Path:
    """Fetch a file unless it is there, and see to it that it is the publisher's.

    What has arrived is kept in ``<name>.part`` and continued by the next attempt or the next call,
    as long as the server says that its file is still the same one.

    Args:
        file: The file.
        folder: Folder of the data set.
        checksum: Whether the publisher's checksum is compared, of a file that is there already too.
        attempts: How often a broken connection is tried again before giving up.
        pause: Seconds before the second attempt; doubled each time.

    Returns:
        Where it lies.

    Raises:
        UserError: If it cannot be fetched, is not what the publisher describes, or is a web page.
    """
    path = folder / _relative(file)
    if path.exists():
        _check(file, path, checksum, f"delete {path} and run the command again")
        return path
    part, notes = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with session() as web:
            for attempt in range(attempts):
                if attempt:
                    time.sleep(pause * 2 ** (attempt - 1))
                trouble = _fetch(web, file, part, notes, checksum)
                if trouble is None:
                    break
            else:
                raise UserError(
                    f"{file.url} could not be fetched in {attempts} attempts ({trouble}): run the "
                    "command again, which continues where it stopped."
                )
        try:
            _check(file, part, checksum, "run the command again, which begins anew")
        except UserError:
            _forget(part, notes)  # to continue what is wrong would never mend it
            raise
        os.replace(part, path)
        notes.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({reason}): make room or choose another folder."
        ) from error
    return path


def _fetch(
    web: requests.Session, file: RemoteFile, part: Path, notes: Path, checksum: bool
) -> str | None:
    """One attempt. None where all has arrived, else what went wrong this time."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # bytes as they are stored, so that ranges count them
    same = _version(notes, file.url)
    if have and (same or (checksum and file.digest)):
        headers["Range"] = f"bytes={have}-"
        if same:
            headers["If-Range"] = same
    try:
        _only_safe(file.url, file.url)
        with web.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            _only_safe(answer.url, file.url)
            if answer.status_code in _PASSING:
                return f"HTTP status {answer.status_code}"
            if answer.status_code == 416:  # nothing is left, or the file is another one
                if file.size == have or (file.size is None and file.digest):
                    return None
                _forget(part, notes)
                return "the file has changed"
            _refuse(answer, file)
            continued = answer.status_code == 206 and _starts(answer) == have
            if answer.status_code == 206 and not continued:
                _forget(part, notes)
                return "another part arrived than was asked for"
            return _receive(answer, file, part, notes, have if continued else 0)
    except requests.RequestException as error:
        return f"{type(error).__name__}"


def _receive(
    answer: requests.Response, file: RemoteFile, part: Path, notes: Path, have: int
) -> str | None:
    """Write the body behind the first ``have`` bytes. None where it is whole."""
    import requests

    stored = {"url": file.url, "version": _strong(answer)}
    notes.write_text(json.dumps(stored), encoding="utf-8")
    length = answer.headers.get("Content-Length", "")
    total = file.size if file.size is not None else have + int(length) if length.isdigit() else None
    trouble, arrived = None, have  # the bar counts nothing where nobody watches
    with (
        part.open("ab" if have else "wb") as sink,
        tqdm(
            total=total, initial=have, desc=file.name, unit="B", unit_scale=True, disable=None
        ) as bar,
    ):
        try:
            for chunk in answer.iter_content(_CHUNK):
                if arrived == 0 and _is_page(chunk, file):
                    raise _page(answer.url, file)
                sink.write(chunk)
                bar.update(len(chunk))
                arrived += len(chunk)
                if file.size is not None and arrived > file.size:
                    return None  # another file, maybe without an end; its size is judged later
        except requests.RequestException as error:
            trouble = f"the connection broke ({type(error).__name__})"
    if trouble is None and total is not None and arrived < total:
        trouble = f"{arrived} of {total} bytes arrived"
    return trouble


def _refuse(answer: requests.Response, file: RemoteFile) -> None:
    """Answers that no further attempt would change."""
    status = answer.status_code
    if status in (401, 403):
        raise UserError(
            f"{file.url} needs a login or a permission (HTTP status {status}): fetch {file.name} "
            "in a browser and put it in the data set's folder."
        )
    if status >= 400:
        raise UserError(
            f"{file.url} is not there (HTTP status {status}): fetch {file.name} by hand from the "
            "publisher's page."
        )
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "text/html" and not file.name.endswith((".html", ".htm")):
        raise _page(answer.url, file)


def _is_page(chunk: bytes, file: RemoteFile) -> bool:
    start = chunk[:64].lstrip().lower()
    return start.startswith(_HTML) and not file.name.endswith((".html", ".htm"))


def _page(where: str, file: RemoteFile) -> UserError:
    return UserError(
        f"{file.url} answered with a web page ({where}), such as a login, and not with "
        f"{file.name}: open it in a browser, fetch the file there and put it in the data set's "
        "folder."
    )


def _only_safe(url: str, asked: str) -> None:
    """Encrypted connections only, but for this machine itself."""
    split = urlsplit(url)
    if split.scheme == "https" or (split.scheme == "http" and split.hostname in _HERE):
        return
    raise UserError(
        f"{asked} leads to {url}, which is not encrypted, so anybody on the way could change the "
        "file: fetch it by hand from the publisher's page."
    )


def _strong(answer: requests.Response) -> str:
    """What tells versions of the file apart; a weak tag does not promise equal bytes."""
    tag = answer.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return "" if tag else answer.headers.get("Last-Modified", "")


def _version(notes: Path, url: str) -> str:
    """The version that the part belongs to, empty where it is unknown."""
    try:
        stored = json.loads(notes.read_text(encoding="utf-8"))
        return str(stored["version"]) if stored["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _starts(answer: requests.Response) -> int | None:
    """First byte of a partial answer, such as 500 of ``bytes 500-999/1000``."""
    span = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(span) if span.isdigit() else None


def _forget(part: Path, notes: Path) -> None:
    part.unlink(missing_ok=True)
    notes.unlink(missing_ok=True)


def _relative(file: RemoteFile) -> Path:
    path = PurePosixPath(file.name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in file.name:
        raise UserError(
            f"{file.url} names its file {file.name!r}, which lies outside the data set's folder: "
            "fetch it by hand from the publisher's page."
        )
    return Path(*path.parts)


def _check(file: RemoteFile, path: Path, checksum: bool, remedy: str) -> None:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise UserError(
            f"{path} has {size} bytes and {file.url} has {file.size}, so it is another file or a "
            f"part of it: {remedy}."
        )
    if checksum and file.algorithm and digest(path, file.algorithm) != file.digest.lower():
        raise UserError(
            f"{path} has not the {file.algorithm} checksum that the publisher gives for "
            f"{file.url} ({file.digest}), so it is damaged or was changed: {remedy}."
        )


def digest(path: Path, algorithm: Algorithm) -> str:
    """Checksum of a file in hexadecimal.

    Args:
        path: The file.
        algorithm: ``md5`` and ``sha256`` of the bytes; ``git``: the SHA-1 that git gives a blob.
    """
    # md5 and git's SHA-1 are what publishers give; they find damage, not forgery.
    made = hashlib.new("sha1" if algorithm == "git" else algorithm, usedforsecurity=False)
    if algorithm == "git":
        made.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            made.update(chunk)
    return made.hexdigest()
