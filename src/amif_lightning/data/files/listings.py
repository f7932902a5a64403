"""What a publisher offers, with sizes and checksums, from the publisher's own interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amif_lightning.data.files.downloads import Algorithm, RemoteFile, session
from amif_lightning.errors import UserError

_TIMEOUT = 60
_MOST_PAGES = 1000  # of one folder; a listing that goes round in circles ends here


def zenodo(record: str, base: str = "https://zenodo.org") -> list[RemoteFile]:
    """Files of a Zenodo record.

    Args:
        record: The record's number.
        base: Where Zenodo is.

    Raises:
        UserError: If the listing cannot be read.
    """
    url = f"{base}/api/records/{record}"
    files = _field(_json(url), "files", list, url)
    found = []
    for item in files:
        kind, _, value = str(_field(item, "checksum", str, url)).partition(":")
        links = _field(item, "links", dict, url)
        found.append(
            RemoteFile(
                name=_field(item, "key", str, url),
                url=_field(links, "self", str, url),
                size=_field(item, "size", int, url),
                algorithm=_known(kind, url),
                digest=value,
            )
        )
    return found


def osf(node: str, base: str = "https://api.osf.io") -> list[RemoteFile]:
    """Files of an Open Science Framework project, those of its folders included.

    Args:
        node: The project's id, such as ``89kps``.
        base: Where the interface is.

    Raises:
        UserError: If the listing cannot be read.
    """
    return list(_osf_folder(f"{base}/v2/nodes/{node}/files/osfstorage/?page%5Bsize%5D=100", ""))


def _osf_folder(url: str | None, folder: str) -> Iterator[RemoteFile]:
    for _ in range(_MOST_PAGES):
        if url is None:
            return
        page = _json(url)
        for item in _field(page, "data", list, url):
            about = _field(item, "attributes", dict, url)
            name = f"{folder}{_field(about, 'name', str, url)}"
            if about.get("kind") == "folder":
                related: Any = item
                for step in ("relationships", "files", "links", "related"):
                    related = _field(related, step, dict, url)
                yield from _osf_folder(_field(related, "href", str, url), f"{name}/")
                continue
            hashes = _field(_field(about, "extra", dict, url), "hashes", dict, url)
            yield RemoteFile(
                name=name,
                url=_field(_field(item, "links", dict, url), "download", str, url),
                size=_field(about, "size", int, url),
                algorithm="sha256",
                digest=_field(hashes, "sha256", str, url),
            )
        following = _field(page, "links", dict, url).get("next")
        url = following if isinstance(following, str) else None
    raise UserError(f"{url} lists more pages than a folder can have: fetch the files by hand.")


def hugging_face(repository: str, endpoint: str | None = None) -> list[RemoteFile]:
    """Files of a data set repository on the Hugging Face hub.

    Args:
        repository: ``owner/name``.
        endpoint: Where the hub is; None: as the library is configured (``HF_ENDPOINT``).

    Raises:
        UserError: If the listing cannot be read.
    """
    from huggingface_hub import HfApi, hf_hub_url

    try:
        info = HfApi(endpoint=endpoint).dataset_info(repository, files_metadata=True)
    except Exception as error:  # the library passes on whatever its HTTP client raises
        raise UserError(
            f"The files of {repository} on Hugging Face cannot be listed "
            f"({type(error).__name__}): check the connection, or fetch them by hand."
        ) from error
    found = []
    for item in info.siblings or []:
        url = hf_hub_url(
            repository, item.rfilename, repo_type="dataset", revision=info.sha, endpoint=endpoint
        )
        algorithm: Algorithm = "git" if item.lfs is None else "sha256"
        value = item.blob_id if item.lfs is None else item.lfs.sha256
        found.append(
            RemoteFile(item.rfilename, url, item.size, algorithm if value else None, value or "")
        )
    return found


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


def _field(item: Any, name: str, kind: type, url: str) -> Any:
    if not isinstance(item, dict) or not isinstance(item.get(name), kind):
        raise UserError(
            f"{url} lists files in another form than expected (no {name}): fetch them by hand."
        )
    return item[name]


def _known(kind: str, url: str) -> Algorithm:
    if kind == "md5":
        return "md5"
    if kind == "sha256":
        return "sha256"
    raise UserError(
        f"{url} gives checksums by {kind!r}, which is unknown: fetch the files by hand."
    )
