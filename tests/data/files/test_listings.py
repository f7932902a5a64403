"""The publishers' listings: names, sizes and checksums, and one sentence for another form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from amif_lightning.data.files.downloads import RemoteFile
from amif_lightning.data.files.listings import osf, zenodo
from amif_lightning.errors import UserError
from tests.http_server import Page, Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def page(content: Any) -> Page:
    return Page(json.dumps(content).encode(), kind="application/json")


def test_a_zenodo_record(server: Server) -> None:
    item = {
        "key": "a.zip",
        "size": 7,
        "checksum": "md5:0123",
        "links": {"self": "https://zenodo.org/api/records/5/files/a.zip/content"},
    }
    server.pages["/api/records/5"] = page({"files": [item]})
    assert zenodo("5", server.base) == [
        RemoteFile("a.zip", item["links"]["self"], 7, "md5", "0123")  # type: ignore[index]  # a dict above
    ]


@pytest.mark.parametrize(
    "content",
    [[], {}, {"files": [{}]}, {"files": [{"checksum": "crc:1", "links": {}}]}, {"files": "a"}],
)
def test_another_form_is_one_sentence(server: Server, content: Any) -> None:
    server.pages["/api/records/5"] = page(content)
    with pytest.raises(UserError, match=r"fetch .* by hand"):
        zenodo("5", server.base)


def test_no_json_and_no_page_are_one_sentence(server: Server) -> None:
    server.pages["/api/records/5"] = Page(b"<html>")
    for record in ("5", "6"):
        with pytest.raises(UserError, match="which lists the files, cannot be read"):
            zenodo(record, server.base)


def osf_file(name: str) -> dict[str, Any]:
    return {
        "attributes": {
            "kind": "file",
            "name": name,
            "size": len(name),
            "extra": {"hashes": {"md5": "1", "sha256": f"sha of {name}"}},
        },
        "links": {"download": f"https://osf.io/download/{name}"},
    }


def test_an_osf_project_with_pages_and_folders(server: Server) -> None:
    folder = {
        "attributes": {"kind": "folder", "name": "Images"},
        "relationships": {"files": {"links": {"related": {"href": f"{server.base}/images"}}}},
    }
    root = "/v2/nodes/ab12/files/osfstorage/?page%5Bsize%5D=100"
    server.pages[root] = page(
        {"data": [osf_file("a.json"), folder], "links": {"next": f"{server.base}/second"}}
    )
    server.pages["/second"] = page({"data": [osf_file("b.txt")], "links": {"next": None}})
    server.pages["/images"] = page({"data": [osf_file("c.jpg")], "links": {"next": None}})
    found = osf("ab12", server.base)
    assert [file.name for file in found] == ["a.json", "Images/c.jpg", "b.txt"]
    assert found[1] == RemoteFile(
        "Images/c.jpg", "https://osf.io/download/c.jpg", 5, "sha256", "sha of c.jpg"
    )


def test_no_listing_is_read_over_open_connections() -> None:
    with pytest.raises(UserError, match="is not encrypted"):
        zenodo("1", "http://example.invalid")
    with pytest.raises(UserError, match="is not encrypted"):
        osf("1", "http://example.invalid")
