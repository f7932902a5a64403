"""Download one file so that it is whole, is the right one, and need not be begun anew."""

from __future__ import annotations

import hashlib
import json
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
    """A file that a publisher offers.

    Attributes:
        name: Where it is put, relative to the data set's folder, with forward slashes.
        url: Where it is.
        size: Its bytes; None where the publisher does not say.
        algorithm: How ``digest`` was made; None without one.
        digest: The publisher's checksum, in hexadecimal.
    """

    name: str
    url: str
    size: int | None = None
    algorithm: Literal["md5", "sha256"] | None = None
    digest: str = ""


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

    What has arrived is kept in ``<name>.part`` and continued by the next attempt or the next call,
    as long as the server says that its file is still the same one.

    Args:
        file: The file.
        folder: Folder of the data set.
        checksum: Whether the publisher's checksum is compared, of a file that is there already too.
        attempts: How often a broken connection is tried before giving up.
        pause: Seconds before the second attempt; doubled each time.

    Returns:
        Where it lies.

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
    part = _Part(path)
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
            _check(file, part.file, checksum, "run the command again, which begins anew")
        except UserError:
            part.forget()  # to continue what is wrong would never mend it
            raise
        os.replace(part.file, path)
        part.forget()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({reason}): make room or choose another folder."
        ) from error
    return path


class _Part:
    """What has arrived of a file, and a note of the version that it belongs to."""

    def __init__(self, path: Path) -> None:
        self.file = path.with_name(f"{path.name}.part")
        self._notes = path.with_name(f"{path.name}.part.json")

    def version(self, url: str) -> str:
        """The version that the part belongs to, empty where it is unknown."""
        try:
            stored = json.loads(self._notes.read_text(encoding="utf-8"))
            return str(stored["version"]) if stored["url"] == url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def note(self, url: str, answer: requests.Response) -> None:
        """Keep what tells versions apart; a weak tag does not promise equal bytes."""
        tag = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
        version = "" if tag.startswith("W/") else tag
        self._notes.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)


def _fetch(web: requests.Session, file: RemoteFile, part: _Part, checksum: bool) -> str | None:
    """One attempt. None where all has arrived, else what went wrong this time."""
    import requests

    have = part.file.stat().st_size if part.file.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # bytes as they are stored, so that ranges count them
    same = part.version(file.url)
    if have and (same or (checksum and file.digest)):
        headers["Range"] = f"bytes={have}-"
        if same:
            headers["If-Range"] = same
    try:
        with web.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code in _PASSING:
                return f"HTTP status {answer.status_code}"
            if answer.status_code == 416:  # nothing is left, or the file is another one
                if file.size == have or (file.size is None and file.digest):
                    return None
                part.forget()
                return "the file has changed"
            if answer.status_code >= 400:
                raise UserError(
                    f"{file.url} is not there or needs a login (HTTP status {answer.status_code}): "
                    f"fetch {file.name} in a browser and put it in the data set's folder."
                )
            if answer.status_code != 206:
                have = 0
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.forget()
                return "another part arrived than was asked for"
            part.note(file.url, answer)
            return _receive(answer, file, part.file, have)
    except requests.RequestException as error:
        return type(error).__name__


def _receive(answer: requests.Response, file: RemoteFile, part: Path, have: int) -> str | None:
    """Write the body behind the first ``have`` bytes. None where it is whole."""
    import requests

    length = answer.headers.get("Content-Length", "")
    total = file.size if file.size is not None else have + int(length) if length.isdigit() else None
    arrived = have  # the bar counts nothing where nobody watches
    with (
        part.open("ab" if have else "wb") as sink,
        tqdm(
            total=total, initial=have, desc=file.name, unit="B", unit_scale=True, disable=None
        ) as bar,
    ):
        try:
            for chunk in answer.iter_content(_CHUNK):
                if arrived == 0:
                    _refuse_page(answer, chunk, file)
                sink.write(chunk)
                bar.update(len(chunk))
                arrived += len(chunk)
                if file.size is not None and arrived > file.size:
                    return None  # another file, maybe without an end; its size is judged later
        except requests.RequestException as error:
            return f"the connection broke ({type(error).__name__})"
    return f"{arrived} of {total} bytes arrived" if total and arrived < total else None


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
    if file.size is not None and size != file.size:
        raise UserError(
            f"{path} has {size} bytes and {file.url} has {file.size}, so it is another file or a "
            f"part of it: {remedy}."
        )
    if not checksum or file.algorithm is None:
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
