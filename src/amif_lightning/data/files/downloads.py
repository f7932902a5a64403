"""Download files with checksums; interrupted downloads resume."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from amif_lightning.data.files.atomic import write_atomically
from amif_lightning.data.files.names import inside
from amif_lightning.errors import UserError

if TYPE_CHECKING:
    import requests

_CHUNK = 2**16  # bytes that a broken connection may lose
_TIMEOUT = (15, 60)  # seconds to connect, and without data
PLAIN_HTTP: list[str] = []  # unencrypted addresses to allow; tests add their server
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})  # another attempt may succeed


@dataclass(frozen=True)
class RemoteFile:
    """A published file: path below the data set's folder, size in bytes and checksum in hex.

    ``digest`` is empty if the publisher gives no checksum.
    """

    name: str
    url: str
    size: int
    algorithm: Literal["md5", "sha256"]
    digest: str


def session() -> requests.Session:
    """Return an HTTP session that refuses unencrypted connections, also after a redirect.

    Raises:
        UserError: If the package requests is not installed.
    """
    try:
        import requests
    except ImportError as error:
        raise UserError(
            "Downloads need the package requests: run `pip install 'amif-lightning[data]'`."
        ) from error
    web = requests.Session()
    plain = web.adapters.pop("http://")
    for address in PLAIN_HTTP:
        web.mount(address, plain)
    return web


def download(
    file: RemoteFile, folder: Path, *, checksum: bool = True, attempts: int = 5, pause: float = 1.0
) -> Path:
    """Fetch a file unless it exists, and check its published size and checksum.

    Received bytes are kept in ``<name>.part``, and the next attempt or call resumes there. Without
    ``checksum`` each attempt starts anew, since a file changed in between would go unnoticed.
    ``pause`` is the time in seconds before the second attempt, doubled each time.

    Without a published checksum, that of the first complete file is trusted: it is written to
    ``<name>.sha256`` and compared from then on.

    Raises:
        UserError: If the file cannot be fetched, differs from the published one, or is a web page.
    """
    name = inside(file.name)
    if name is None or "\\" in name:
        raise UserError(
            f"{file.url} names its file {file.name!r}, which lies outside the data set's folder: "
            "fetch it by hand from the publisher's page."
        )
    path = folder / name
    record = path.with_name(f"{path.name}.sha256")
    first_sight = checksum and not file.digest and not record.is_file()
    changed = ""
    if checksum and not file.digest and record.is_file():
        file = replace(file, digest=record.read_text(encoding="utf-8").partition(" ")[0])
        changed = f"; if the publisher changed the file, delete {record} first"
    checksum = checksum and not first_sight
    if path.exists():
        _check(file, path, checksum, f"delete {path} and run the command again{changed}")
        if first_sight:
            _trust(file, path, record)
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
                how = "continues where it stopped" if checksum else "begins anew"
                raise UserError(
                    f"{file.url} could not be fetched in {attempts} attempts ({trouble}): run the "
                    f"command again, which {how}."
                )
        try:
            _check(file, part, checksum, f"run the command again, which begins anew{changed}")
        except UserError:
            part.unlink()  # continuing a wrong file would never repair it
            raise
        os.replace(part, path)
        if first_sight:
            _trust(file, path, record)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({reason}): make room or choose another folder."
        ) from error
    return path


def _fetch(web: requests.Session, file: RemoteFile, part: Path, resume: bool) -> str | None:
    """Try once; return the reason of a transient failure, None for a complete file."""
    import requests

    have = part.stat().st_size if resume and part.exists() else 0
    if have >= file.size > 0:
        return None  # checked by the caller
    headers = {"Accept-Encoding": "identity"}  # bytes as stored, so that ranges count them
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with web.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code in _TRANSIENT:
                return f"HTTP status {answer.status_code}"
            if answer.status_code >= 400:
                raise UserError(
                    f"{file.url} is not there or needs a login (HTTP status {answer.status_code}): "
                    f"fetch {file.name} in a browser and put it in the data set's folder."
                )
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0  # the whole file, from a server without ranges
            return _receive(answer, file, part, have)
    except requests.exceptions.InvalidSchema as error:  # the session has no such connection
        raise UserError(
            f"{file.url} is not encrypted or leads to such an address ({error}), so the file could "
            "be changed on the way: fetch it by hand from the publisher's page."
        ) from error
    except requests.RequestException as error:
        return f"the connection broke ({type(error).__name__})"


def _receive(answer: requests.Response, file: RemoteFile, part: Path, have: int) -> str | None:
    """Write the body after the first ``have`` bytes; return as :func:`_fetch`."""
    arrived = have
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
                break  # another file, maybe endless; the caller checks the size
    return None if arrived >= file.size else f"{arrived} of {file.size} bytes arrived"


def _refuse_page(answer: requests.Response, start: bytes, file: RemoteFile) -> None:
    kind = answer.headers.get("Content-Type", "").strip().lower()
    tags = (b"<!doctype html", b"<html")
    page = kind.startswith("text/html") or start.lstrip().lower().startswith(tags)
    if page and not file.name.endswith((".html", ".htm")):
        raise UserError(
            f"{file.url} answered with a web page ({answer.url}), such as a login, and not with "
            f"{file.name}: open it in a browser, fetch the file there and put it in the data set's "
            "folder."
        )


def _digest(path: Path, algorithm: str) -> str:
    # Some publishers give md5 only; it detects damage, not forgery.
    make_hash = partial(hashlib.new, algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, make_hash).hexdigest()


def _trust(file: RemoteFile, path: Path, record: Path) -> None:
    digest = _digest(path, "sha256")
    write_atomically(record, f"{digest}  {path.name}\n")  # as sha256sum writes it
    print(
        f"No checksum is published for {file.url}: {path.name} is trusted on first sight, and its "
        f"sha256 {digest} is kept in {record} and compared from now on"
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
    if _digest(path, file.algorithm) != file.digest.lower():
        raise UserError(
            f"{path} does not have the {file.algorithm} checksum published or recorded for "
            f"{file.url} ({file.digest}), so it is damaged or was changed: {remedy}."
        )
