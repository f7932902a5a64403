"""Downloads are whole and the right ones, or there is one sentence and nothing that looks whole."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from amif_lightning.data.files import downloads
from amif_lightning.data.files.downloads import RemoteFile, download
from amif_lightning.errors import UserError
from tests.http_server import Page, Server

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(BODY).hexdigest()


def offered(server: Server, page: Page | None = None, **more: object) -> RemoteFile:
    server.pages["/a.bin"] = page or Page(BODY)
    given: dict[str, object] = {"size": len(BODY), "algorithm": "sha256", "digest": SHA}
    return RemoteFile("sub/a.bin", f"{server.base}/a.bin", **(given | more))  # type: ignore[arg-type]  # typed by the test


def fetched(file: RemoteFile, folder: Path, **more: object) -> Path:
    return download(file, folder, pause=0.0, **more)  # type: ignore[arg-type]  # as above


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_arrives_and_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    file = offered(server)
    path = fetched(file, tmp_path)
    assert path.read_bytes() == BODY
    assert left(tmp_path) == {"a.bin"}
    assert fetched(file, tmp_path) == path
    assert len(server.asked) == 1


def test_a_server_that_dies_half_way_is_continued(server: Server, tmp_path: Path) -> None:
    file = offered(server, Page(BODY, breaks=[400_000, 200_000]))
    assert fetched(file, tmp_path).read_bytes() == BODY
    starts = [int(asked[6:-1]) if asked else 0 for _, asked in server.asked]
    assert len(starts) == 3
    assert starts[0] == 0 < starts[1] < starts[2]
    assert left(tmp_path) == {"a.bin"}


@pytest.mark.parametrize("size", [None, len(BODY), 9])
def test_a_later_call_continues_and_begins_anew_where_the_file_changed(
    server: Server, tmp_path: Path, size: int | None
) -> None:
    file = offered(server, Page(BODY, breaks=[300_000]))
    with pytest.raises(UserError, match=r"in 1 attempts .* continues where it stopped"):
        fetched(file, tmp_path, attempts=1)
    assert left(tmp_path) == {"a.bin.part"}
    if size is None:
        assert fetched(file, tmp_path).read_bytes() == BODY
        assert server.asked[-1][1].startswith("bytes=")
        return
    other = BODY[::-1][:size]
    known = {"size": size, "digest": hashlib.sha256(other).hexdigest()}
    file = offered(server, Page(other), **known)
    with pytest.raises(UserError, match="begins anew"):
        fetched(file, tmp_path)
    assert fetched(file, tmp_path).read_bytes() == other


def test_nothing_is_continued_without_checksum_or_ranges(server: Server, tmp_path: Path) -> None:
    file = offered(server, Page(BODY, breaks=[300_000]))
    assert fetched(file, tmp_path / "a", checksum=False).read_bytes() == BODY
    assert [asked for _, asked in server.asked] == ["", ""]
    file = offered(server, Page(BODY, ranges=False, breaks=[300_000]))
    assert fetched(file, tmp_path).read_bytes() == BODY


def test_transient_failures_are_tried_again(server: Server, tmp_path: Path) -> None:
    file = offered(server, Page(BODY, failures=[503, 429]))
    assert fetched(file, tmp_path / "a").read_bytes() == BODY
    assert len(server.asked) == 3
    file = offered(server, Page(BODY, failures=[503] * 9))
    with pytest.raises(UserError, match=r"in 5 attempts \(HTTP status 503\)"):
        fetched(file, tmp_path)


def test_a_truncated_body_is_no_file(server: Server, tmp_path: Path) -> None:
    file = offered(server, Page(BODY, breaks=[300_000] * 9), size=9 * len(BODY))
    with pytest.raises(UserError, match="in 3 attempts"):
        fetched(file, tmp_path, attempts=3)
    assert "a.bin" not in left(tmp_path)


@pytest.mark.parametrize("body", [BODY + b"x", BODY * 30])
def test_a_longer_body_is_refused_and_does_not_fill_the_disk(
    server: Server, tmp_path: Path, body: bytes
) -> None:
    file = offered(server, Page(body))
    # One byte too many is enough: the rest is not read.
    with pytest.raises(UserError, match=r"has (\d+) bytes and .* has 1048576") as caught:
        fetched(file, tmp_path)
    found = re.search(r"has (\d+) bytes", str(caught.value))
    assert found is not None
    assert int(found[1]) < 2 * len(BODY)
    assert left(tmp_path) == set()


def test_a_wrong_checksum_is_refused_and_forgotten(server: Server, tmp_path: Path) -> None:
    file = offered(server, Page(BODY[:-1] + b"!"))
    with pytest.raises(UserError, match="does not have the sha256 checksum"):
        fetched(file, tmp_path)
    assert left(tmp_path) == set()  # continuing it would never repair it
    assert fetched(file, tmp_path, checksum=False).is_file()


def test_a_file_on_disk_is_compared_too(server: Server, tmp_path: Path) -> None:
    file = offered(server)
    path = fetched(file, tmp_path)
    path.write_bytes(BODY[:-1] + b"!")
    with pytest.raises(UserError, match=r"delete .* and run the command again"):
        fetched(file, tmp_path)
    assert path.is_file()  # what a user put there is not deleted
    path.write_bytes(BODY[:9])
    with pytest.raises(UserError, match="has 9 bytes"):
        fetched(file, tmp_path, checksum=False)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_login_page_is_no_file(server: Server, tmp_path: Path, kind: str) -> None:
    server.pages["/login"] = Page(b"<!DOCTYPE html><html>Sign in</html>", kind=kind)
    file = offered(server, Page(redirect="/login"))
    with pytest.raises(UserError, match=r"answered with a web page \(.*/login\)"):
        fetched(file, tmp_path)
    assert "a.bin" not in left(tmp_path)


@pytest.mark.parametrize("status", [404, 403])
def test_a_refusal_is_not_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    file = offered(server, Page(BODY, failures=[status] * 9))
    with pytest.raises(UserError, match=rf"is not there or needs a login .*{status}"):
        fetched(file, tmp_path)
    assert len(server.asked) == 1


def test_nothing_is_fetched_over_open_connections(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not encrypted"):
        fetched(RemoteFile("a", "http://example.org/a", 1, "md5", ""), tmp_path)
    for hop in ("http://example.invalid/a", "/hop"):  # refused before it is asked
        server.pages["/hop"] = Page(redirect="http://example.invalid/b")
        file = offered(server, Page(redirect=hop))
        with pytest.raises(UserError, match=r"is not encrypted or leads .*example\.invalid/"):
            fetched(file, tmp_path)


@pytest.mark.parametrize("name", ["/a", "../a", "b/../../a", "c\\a", ""])
def test_a_name_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="lies outside"):
        fetched(RemoteFile(name, "https://example.org/a", 1, "md5", ""), tmp_path)


def test_md5(server: Server, tmp_path: Path) -> None:
    page = Page(b"hello\n")
    known = {"size": 6, "algorithm": "md5", "digest": "b1946ac92492d2347c6235b4d2611184"}
    assert fetched(offered(server, page, **known), tmp_path).read_bytes() == b"hello\n"


def test_without_a_published_checksum_the_first_file_is_trusted_and_the_command_says_so(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = offered(server, Page(BODY, breaks=[300_000]), digest="")
    path = fetched(file, tmp_path)
    printed = capsys.readouterr().out
    assert "No checksum is published for" in printed
    assert f"trusted on first sight, and its sha256 {SHA}" in printed
    record = path.with_name("a.bin.sha256")
    assert record.read_text() == f"{SHA}  a.bin\n"
    # Nothing is continued, since nothing could tell a file that changed in between.
    assert [asked for _, asked in server.asked] == ["", ""]
    assert fetched(file, tmp_path) == path
    assert capsys.readouterr().out == ""
    path.write_bytes(BODY[::-1])
    with pytest.raises(UserError, match=r"delete .*a\.bin and run .* changed .*, delete .*sha256"):
        fetched(file, tmp_path)
    path.unlink()
    server.pages["/a.bin"] = Page(BODY[::-1])
    with pytest.raises(UserError, match=rf"recorded for .* \({SHA}\).* delete .*sha256 first"):
        fetched(file, tmp_path)
    record.unlink()
    assert fetched(file, tmp_path).read_bytes() == BODY[::-1]
    record.unlink()
    assert fetched(file, tmp_path, checksum=False) == path
    assert not record.exists()
    assert fetched(file, tmp_path) == path  # a file that the user put there is recorded too
    assert record.exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "requests", None)
    with pytest.raises(UserError, match=r"pip install 'amif-lightning\[data\]'"):
        downloads.session()
