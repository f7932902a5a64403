"""A Hugging Face hub on loopback: the calls by which a repository is listed and fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.http_server import Page, Server, serving

REVISION = "c0ffee" + 34 * "0"


def use_hub(patch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Let the libraries use this hub, although the tests are offline."""
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.delenv("HF_HUB_OFFLINE", raising=False)
    patch.setattr(constants, "ENDPOINT", endpoint)
    patch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))


@contextmanager
def serving_hub(cache: Path) -> Iterator[Server]:
    """Serve a hub without repositories and use it; ``cache`` replaces the user's."""
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        use_hub(patch, server.base, cache)
        yield server


def publish(server: Server, name: str, files: Mapping[str, bytes]) -> None:
    """Add a repository."""
    information = {"id": name, "sha": REVISION, "siblings": [{"rfilename": f} for f in files]}
    tree = [
        {"type": "file", "path": path, "size": len(body), "oid": _blob(body)}
        for path, body in files.items()
    ]
    pages: dict[str, object] = {
        f"/api/models/{name}": information,
        f"/api/models/{name}/revision/main": information,
    }
    for revision in ("main", REVISION):
        pages[f"/api/models/{name}/tree/{revision}?recursive=true&expand=false"] = tree
    for path, content in pages.items():
        server.pages[path] = Page(json.dumps(content).encode(), kind="application/json")
    for path, body in files.items():
        headers = {"ETag": f'"{_blob(body)}"', "X-Repo-Commit": REVISION}
        for revision in ("main", REVISION):
            server.pages[f"/{name}/resolve/{revision}/{path}"] = Page(body, headers=headers)


def accept(server: Server, name: str) -> dict[str, bytes]:
    """Let a repository be created and files be uploaded to it; return them by path, once sent."""
    files: dict[str, bytes] = {}

    def create(body: bytes) -> bytes:
        given = json.loads(body)
        assert (given["organization"], given["name"]) == tuple(name.split("/"))
        assert given["visibility"] == "private"
        publish(server, name, {})
        return json.dumps({"url": f"{server.base}/{name}"}).encode()

    def modes(body: bytes) -> bytes:
        paths = [file["path"] for file in json.loads(body)["files"]]
        modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]
        return json.dumps({"files": modes}).encode()

    def commit(body: bytes) -> bytes:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        publish(server, name, files)
        return json.dumps(
            {"commitUrl": f"{server.base}/{name}/commit/1", "commitOid": "1"}
        ).encode()

    server.posts["/api/validate-yaml"] = lambda body: b'{"errors": [], "warnings": []}'
    server.posts["/api/repos/create"] = create
    server.posts[f"/api/models/{name}/preupload/main"] = modes
    server.posts[f"/api/models/{name}/commit/main"] = commit
    return files


def _blob(body: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
