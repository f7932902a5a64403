"""What Zenodo and OSF offer, with sizes and checksums, from their own interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from amif_lightning.data.files.downloads import RemoteFile, session
from amif_lightning.errors import UserError

_TIMEOUT = 60
_ALGORITHMS: dict[str, Literal["md5", "sha256"]] = {"md5": "md5", "sha256": "sha256"}


def zenodo(record: str, base: str = "https://zenodo.org") -> list[RemoteFile]:
    """Files of the Zenodo record of this number.

    Raises:
        UserError: If the listing cannot be read.
    """
    url = f"{base}/api/records/{record}"
    listed = _json(url)
    try:
        return [_on_zenodo(item) for item in listed["files"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _other_form(url, error) from error


def _on_zenodo(item: Any) -> RemoteFile:
    kind, _, digest = item["checksum"].partition(":")
    return RemoteFile(item["key"], item["links"]["self"], item["size"], _ALGORITHMS[kind], digest)


def osf(node: str, base: str = "https://api.osf.io") -> list[RemoteFile]:
    """Files of an Open Science Framework project such as ``89kps``, with those of its folders.

    Raises:
        UserError: If the listing cannot be read.
    """
    return list(_osf_folder(f"{base}/v2/nodes/{node}/files/osfstorage/?page%5Bsize%5D=100", ""))


def _osf_folder(url: str | None, folder: str) -> Iterator[RemoteFile]:
    while url is not None:
        page = _json(url)
        try:
            for item in page["data"]:
                about = item["attributes"]
                name = folder + about["name"]
                if about["kind"] == "folder":
                    inner = item["relationships"]["files"]["links"]["related"]["href"]
                    yield from _osf_folder(inner, f"{name}/")
                else:
                    where, digest = item["links"]["download"], about["extra"]["hashes"]["sha256"]
                    yield RemoteFile(name, where, about["size"], "sha256", digest)
            url = page["links"]["next"]
        except (KeyError, TypeError) as error:
            raise _other_form(str(url), error) from error


def _json(url: str) -> Any:
    """The JSON that an address answers with."""
    with session() as web:
        import requests

        try:
            answer = web.get(url, timeout=_TIMEOUT)
            answer.raise_for_status()
            return answer.json()
        except requests.RequestException as error:  # bad JSON is one of them
            raise UserError(
                f"{url}, which lists the files, cannot be read ({type(error).__name__}): check the "
                "connection, or fetch them by hand."
            ) from error


def _other_form(url: str, error: Exception) -> UserError:
    return UserError(
        f"{url} lists files in another form than expected ({type(error).__name__} {error}): fetch "
        "them by hand."
    )
