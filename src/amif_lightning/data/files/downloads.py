"""Download one file so that it is whole, is the right one, and need not be begun anew."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tqdm import tqdm

from amif_lightning.data.files.tables import inside
from amif_lightning.errors import UserError

if TYPE_CHECKING:
    import requests

_CHUNK = 2**16  # what a broken connection may lose
_TIMEOUT = (15, 60)  # seconds to connect, and of silence
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
#: Answers after which another attempt may succeed.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RemoteFile:
    """A file that a publisher offers, with the publisher's checksum in hexadecimal.

    ``name`` is where it is put below the data set's folder, with forward slashes; ``size`` is in
    bytes.
    """

    name: str
    url: str
    size: int
    algorithm: Literal["md5", "sha256"]
    digest: str


def session() -> requests.Session:
    """An HTTP session that follows no redirect to a connection that is not encrypted.

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
            url = request.url or ""
            if urlsplit(url).hostname not in _HERE:
                raise UserError(
                    f"{url} is not encrypted, so anybody on the way could change the file: fetch "
                    "it by hand from the publisher's page."
                )
            return super().send(request, **options)

    web = requests.Session()
    web.mount("http://", Local())
    return web


def download(
    file: RemoteFile, folder: Path, *, checksum: bool = True, attempts: int = 5, pause: float = 1.0
) -> Path:
    """Fetch a file unless it is there, and see to it that it is the publisher's.

    What has arrived is kept in ``<name>.part`` and continued by the next attempt or the next call;
    the checksum finds a file that changed in between, so without it nothing is continued.

    Args:
        file: The file.
        folder: Folder of the data set.
        checksum: Whether the checksum is compared, of a file that is there already too.
        attempts: How often a broken connection is tried before giving up.
        pause: Seconds before the second attempt; doubled each time.

    Raises:
        UserError: If it cannot be fetched, is not what the publisher describes, or is a web page.
    """
    name = inside(file.name)
    if name is None or "\\" in name:
        raise UserError(
            f"{file.url} names its file {file.name!r}, which lies outside the data set's folder: "
            "fetch it by hand from the publisher's page."
        )
    path = folder / name
    if path.exists():
        _check(file, path, checksum, f"delete {path} and run the command again")
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with session() as web:
            for attempt in range(attempts):
                if attempt:
                    time.sleep(pause * 2 ** (attempt - 1))
                trouble = _fetch(web, file, part, checksum)
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
            part.unlink()  # to continue what is wrong would never mend it
            raise
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({reason}): make room or choose another folder."
        ) from error
    return path


def _fetch(web: requests.Session, file: RemoteFile, part: Path, resume: bool) -> str | None:
    """One attempt. None where all has arrived, else what went wrong this time."""
    import requests

    have = part.stat().st_size if resume and part.exists() else 0
    if have >= file.size > 0:
        return None  # its content is judged later
    headers = {"Accept-Encoding": "identity"}  # bytes as they are stored, so that ranges count them
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with web.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code in _PASSING:
                return f"HTTP status {answer.status_code}"
            if answer.status_code == 416:  # the file is shorter now
                part.unlink()
                return "the file has changed"
            if answer.status_code >= 400:
                raise UserError(
                    f"{file.url} is not there or needs a login (HTTP status {answer.status_code}): "
                    f"fetch {file.name} in a browser and put it in the data set's folder."
                )
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0  # the whole file, from a server that gives no parts
            return _receive(answer, file, part, have)
    except requests.RequestException as error:
        return f"the connection broke ({type(error).__name__})"


def _receive(answer: requests.Response, file: RemoteFile, part: Path, have: int) -> str | None:
    """Write the body behind the first ``have`` bytes. None where it is whole."""
    arrived = have  # the bar counts nothing where nobody watches
    with (
        part.open("ab" if have else "wb") as sink,
        tqdm(
            total=file.size, initial=have, desc=file.name, unit="B", unit_scale=True, disable=None
        ) as bar,
    ):
        for chunk in answer.iter_content(_CHUNK):
            if arrived == 0:
                _refuse_page(answer, chunk, file)
            sink.write(chunk)
            bar.update(len(chunk))
            arrived += len(chunk)
            if arrived > file.size:
                break  # another file, maybe without an end; its size is judged later
    return None if arrived >= file.size else f"{arrived} of {file.size} bytes arrived"


def _refuse_page(answer: requests.Response, start: bytes, file: RemoteFile) -> None:
    kind = answer.headers.get("Content-Type", "").strip().lower()
    page = kind.startswith("text/html") or start.lstrip().lower().startswith(
        (b"<!doctype html", b"<html")
    )
    if page and not file.name.endswith((".html", ".htm")):
        raise UserError(
            f"{file.url} answered with a web page ({answer.url}), such as a login, and not with "
            f"{file.name}: open it in a browser, fetch the file there and put it in the data set's "
            "folder."
        )


def _check(file: RemoteFile, path: Path, checksum: bool, remedy: str) -> None:
    size = path.stat().st_size
    if size != file.size:
        raise UserError(
            f"{path} has {size} bytes and {file.url} has {file.size}, so it is another file or a "
            f"part of it: {remedy}."
        )
    if not checksum:
        return
    # md5 is what some publishers give; it finds damage, not forgery.
    made = partial(hashlib.new, file.algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, made)
    if found.hexdigest() != file.digest.lower():
        raise UserError(
            f"{path} has not the {file.algorithm} checksum that the publisher gives for "
            f"{file.url} ({file.digest}), so it is damaged or was changed: {remedy}."
        )
