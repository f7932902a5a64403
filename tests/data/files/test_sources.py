"""Origins of data sets: listings, downloads, and data that only the user may fetch."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from amif_lightning.data.files import repositories
from amif_lightning.data.files.downloads import RemoteFile
from amif_lightning.data.files.sources import (
    SOURCES,
    ReleaseSource,
    fetch,
    osf,
    source_of,
    unlisted,
    zenodo,
)
from amif_lightning.errors import UserError
from data_modules import VQARAD, PhantomStudies
from tests.http_server import Page, Server


def offered(server: Server, name: str, body: bytes) -> RemoteFile:
    server.pages[f"/{name}"] = Page(body)
    digest = hashlib.sha256(body).hexdigest()
    return RemoteFile(name, f"{server.base}/{name}", len(body), "sha256", digest)


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return stream.getvalue()


def test_a_download_is_unpacked_and_not_fetched_twice(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        # As in some copies: the images are an archive inside the archive.
        offered(server, "train.zip", zipped(a=b"1", **{"images.zip": zipped(b=b"2")})),
        offered(server, "valid.zip", zipped(c=b"3")),
        offered(server, "notes.pdf", b"not wanted"),
    ]
    source = ReleaseSource(
        "https://page", "CC", lambda: files, wanted=("*.zip",), unpack={"valid.zip": "validation"}
    )
    for _ in range(2):
        fetch(source, tmp_path)
        assert "2 files, " in capsys.readouterr().out
    assert len(server.asked) == 2
    assert (tmp_path / "train" / "a").read_bytes() == b"1"
    assert (tmp_path / "train" / "images" / "b").read_bytes() == b"2"
    assert (tmp_path / "validation" / "c").read_bytes() == b"3"
    assert not (tmp_path / "notes.pdf").exists()


HUB = ReleaseSource("https://page", "CC", hub="owner/name", wanted=("*.json", "imgs.zip"))


def online(patch: pytest.MonkeyPatch) -> None:
    """The hub can be used, although the tests are offline."""
    patch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    patch.setattr(repositories, "unreachable", lambda: None)


def hub(
    monkeypatch: pytest.MonkeyPatch, names: list[str], mismatches: list[str]
) -> list[dict[str, Any]]:
    """A hub with one revision; returns the requests."""
    asked: list[dict[str, Any]] = []

    def snapshot(
        repository: str, *, local_dir: Path, dry_run: bool = False, **options: Any
    ) -> object:
        if dry_run:
            return []
        asked.append({"repository": repository} | options)
        for name in names:
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / name).write_bytes(zipped(**{"imgs/a.txt": b"1"}))
        return str(local_dir)

    def verify(self: object, repository: str, **options: Any) -> object:
        asked.append({"repository": repository} | options)
        return SimpleNamespace(mismatches=[{"path": name} for name in mismatches])

    info = SimpleNamespace(sha="c0ffee", siblings=[])
    online(monkeypatch)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: info)
    monkeypatch.setattr(huggingface_hub.HfApi, "verify_repo_checksums", verify)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return asked


def test_the_hub_is_asked_for_one_revision_which_is_verified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = hub(monkeypatch, ["a.json", "imgs.zip"], [])
    fetch(HUB, tmp_path / "root")
    assert (tmp_path / "root" / "imgs" / "a.txt").read_text() == "1"
    assert [call["revision"] for call in asked] == ["c0ffee", "c0ffee"]
    assert asked[0]["allow_patterns"] == ["*.json", "imgs.zip"]
    assert {(call["repository"], call["repo_type"]) for call in asked} == {
        ("owner/name", "dataset")
    }
    fetch(HUB, tmp_path / "root", checksum=False)
    assert len(asked) == 3  # the download alone


def test_a_damaged_file_of_the_hub_is_named_and_not_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub(monkeypatch, ["a.json", "imgs.zip"], ["imgs.zip"])
    with pytest.raises(
        UserError, match=r"imgs\.zip does not have the checksum .* delete .*imgs\.zip"
    ):
        fetch(HUB, tmp_path)
    assert not (tmp_path / "imgs").exists()


def test_a_hub_that_fails_or_has_nothing_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    with monkeypatch.context() as patch:
        online(patch)
        patch.setattr(huggingface_hub.HfApi, "dataset_info", broken)
        with pytest.raises(UserError, match=r"cannot be fetched .* \(no route\): check"):
            fetch(HUB, tmp_path)
    hub(monkeypatch, [], [])
    with pytest.raises(UserError, match="lists none of the wanted files"):
        fetch(HUB, tmp_path)


def test_gated_sets_say_where_to_apply(tmp_path: Path) -> None:
    for name in ("MIMICCXR", "CheXpert5x200", "MedICaT", "PathVQA", "ROCO v1"):
        with pytest.raises(UserError, match=r"not downloaded for you: go to https://.+ \(.+\), .+"):
            fetch(SOURCES[name], tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "unexpected format"),
        ({}, "unexpected format"),
        ({"files": [{}]}, "unexpected format"),
        ({"files": [{"checksum": "crc:1", "links": {}}]}, "unexpected format"),
        ({"files": "a"}, "unexpected format"),
        ({"files": []}, "lists none of the wanted files"),
        (None, "which lists the files, cannot be read"),
    ],
)
def test_a_listing_of_another_form_is_one_sentence(
    server: Server, tmp_path: Path, content: Any, message: str
) -> None:
    server.pages["/api/records/5"] = page(content) if content is not None else Page(b"<html>")
    with pytest.raises(UserError, match=message):
        fetch(ReleaseSource("https://page", "CC", lambda: zenodo("5", server.base)), tmp_path)


def page(content: Any) -> Page:
    return Page(json.dumps(content).encode(), kind="application/json")


def test_a_zenodo_record(server: Server) -> None:
    url = "https://zenodo.org/api/records/5/files/a.zip/content"
    item = {"key": "a.zip", "size": 7, "checksum": "md5:0123", "links": {"self": url}}
    server.pages["/api/records/5"] = page({"files": [item]})
    assert list(zenodo("5", server.base)) == [RemoteFile("a.zip", url, 7, "md5", "0123")]


def test_files_without_a_listing_have_the_size_that_the_server_tells(server: Server) -> None:
    server.pages["/all/a.tgz"] = Page(b"1234567")
    folder = f"{server.base}/all"
    found = RemoteFile("a.tgz", f"{folder}/a.tgz", 7, "sha256", "")
    assert list(unlisted(folder, "a.tgz")) == [found]
    with pytest.raises(UserError, match=r"b\.tgz cannot be reached or tells no size \(HTTPError\)"):
        list(unlisted(folder, "b.tgz"))


def osf_file(name: str) -> dict[str, Any]:
    hashes = {"md5": "1", "sha256": f"sha of {name}"}
    return {
        "attributes": {"kind": "file", "name": name, "size": 5, "extra": {"hashes": hashes}},
        "links": {"download": f"https://osf.io/download/{name}"},
    }


def test_an_osf_project_with_pages_and_folders(server: Server) -> None:
    folder = {
        "attributes": {"kind": "folder", "name": "Images"},
        "relationships": {"files": {"links": {"related": {"href": f"{server.base}/images"}}}},
    }
    for path, files, following in (
        ("/v2/nodes/ab12/files/osfstorage/?page%5Bsize%5D=100", ["a.json", ""], "/second"),
        ("/second", ["b.txt"], ""),
        ("/images", ["c.jpg"], ""),
    ):
        data = [osf_file(name) if name else folder for name in files]
        link = server.base + following if following else None
        server.pages[path] = page({"data": data, "links": {"next": link}})
    found = list(osf("ab12", server.base))
    assert [file.name for file in found] == ["a.json", "Images/c.jpg", "b.txt"]
    where = "https://osf.io/download/c.jpg"
    assert found[1] == RemoteFile("Images/c.jpg", where, 5, "sha256", "sha of c.jpg")


def test_every_published_set_is_found_by_its_class(tmp_path: Path) -> None:
    assert source_of(VQARAD(str(tmp_path))) is SOURCES["VQARAD"]
    assert source_of(PhantomStudies(str(tmp_path))) is None
    for name, source in SOURCES.items():
        assert source.page.startswith("https://"), name
        assert source.licence, name
        ways = (source.listing is not None, bool(source.hub), bool(source.how))
        assert sum(ways) == 1, name
