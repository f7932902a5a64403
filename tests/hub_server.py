"""A Hugging Face hub on loopback: the calls by which a repository is listed and fetched."""

from __future__ import annotations

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
    pages = {
        f"/api/models/{name}": information,
        f"/api/models/{name}/revision/main": information,
        f"/api/models/{name}/tree/{REVISION}?recursive=true&expand=false": tree,
    }
    for path, content in pages.items():
        server.pages[path] = Page(json.dumps(content).encode(), kind="application/json")
    for path, body in files.items():
        headers = {"ETag": f'"{_blob(body)}"', "X-Repo-Commit": REVISION}
        for revision in ("main", REVISION):
            server.pages[f"/{name}/resolve/{revision}/{path}"] = Page(body, headers=headers)


def _blob(body: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
