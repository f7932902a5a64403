"""Archives are unpacked whole or not at all, and never outside their folder."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.files import archives
from amif_lightning.data.files.archives import extract, is_archive, stem
from amif_lightning.errors import UserError

CONTENT = {"a.txt": b"one", "sub/b.bin": bytes(1000), "sub/deep/c": b""}


def zipped(path: Path, content: dict[str, bytes] = CONTENT) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, content: dict[str, bytes] = CONTENT, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # some valid mode
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("make", "name"), [(zipped, "a.zip"), (tarred, "a.tar.gz")])
def test_all_files_are_unpacked(tmp_path: Path, make: Callable[[Path], Path], name: str) -> None:
    archive = make(tmp_path / name)
    assert is_archive(archive)
    assert stem(archive.name) == "a"
    extract(archive, tmp_path / "out")
    assert files(tmp_path / "out") == CONTENT
    archive.unlink()
    extract(archive, tmp_path / "out")  # it is there


def test_the_only_folder_of_the_targets_name_is_the_target(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {f"imgs/{name}": data for name, data in CONTENT.items()})
    extract(archive, tmp_path / "imgs")
    assert files(tmp_path / "imgs") == CONTENT
    extract(archive, tmp_path / "other")
    assert set(files(tmp_path / "other")) == {f"imgs/{name}" for name in CONTENT}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "imgs", "other"]


def test_litter_of_desktops_and_backslashes(tmp_path: Path) -> None:
    content = {"a\\b.txt": b"1", "__MACOSX/a/._b.txt": b"2", "a/.DS_Store": b"3"}
    extract(zipped(tmp_path / "a.zip", content), tmp_path / "out")
    assert files(tmp_path / "out") == {"a/b.txt": b"1"}


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil", "C:/x"])
def test_nothing_is_written_outside(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path], name: str
) -> None:
    (tmp_path / "inner").mkdir()
    archive = make(tmp_path / "inner" / "a.zip", {"good": b"1", name: b"2"})
    with pytest.raises(UserError, match="lies outside the folder"):
        extract(archive, tmp_path / "inner" / "out")
    assert set(files(tmp_path)) == {"inner/a.zip"}


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "contains no file"),
        ({"__MACOSX/a/._b.txt": b"3"}, "contains no file"),
        ({"d/" * 2000 + "a": b"1"}, r"has the member 'd/d/.{,200}', which .* has no valid name"),
        ({"n" * 300: b"1"}, "has no valid name"),
    ],
)
def test_empty_and_deep_archives_are_one_sentence(
    tmp_path: Path,
    make: Callable[[Path, dict[str, bytes]], Path],
    content: dict[str, bytes],
    sentence: str,
) -> None:
    archive = make(tmp_path / "a.zip", content)
    with pytest.raises(UserError, match=sentence):
        extract(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_member_without_a_name_is_one_sentence(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"q": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"q", b"\0"))  # where zipfile ends a name
    with pytest.raises(UserError, match="is damaged or no archive"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        with tarfile.open(archive, "w") as made:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
        with pytest.raises(UserError, match="is not a regular file"):
            extract(archive, tmp_path / "out")
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="is not a regular file"):
        extract(tmp_path / "b.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bombs_are_refused_by_what_they_claim_and_by_what_they_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_GROWTH", 1000)
    bomb = zipped(tmp_path / "a.zip", {"zeros": bytes(10**6)})
    with pytest.raises(UserError, match="far more than its own"):
        extract(bomb, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with pytest.raises(UserError, match="3 files"):
        extract(zipped(tmp_path / "b.zip"), tmp_path / "out")
    monkeypatch.undo()
    lying = bytearray(bomb.read_bytes())
    size = (10**6).to_bytes(4, "little")
    assert lying.count(size) == 2  # in the local and in the central header
    bomb.write_bytes(bytes(lying).replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="damaged"):
        extract(bomb, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_encrypted_archives_are_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip")
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(mark)
        while place >= 0:
            data[place + offset] |= 1
            place = data.find(mark, place + 1)
    archive.write_bytes(bytes(data))
    with pytest.raises(UserError, match="is encrypted"):
        extract(archive, tmp_path / "out")


def test_another_or_no_file_and_a_repeated_name(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>login</html>")
    with pytest.raises(UserError, match="is damaged or no archive"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(UserError, match="does not exist"):
        extract(tmp_path / "b.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", "2")
    with pytest.raises(UserError, match="holds a twice"):
        extract(tmp_path / "c.zip", tmp_path / "out")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cut=st.floats(0, 1), place=st.floats(0, 1), flip=st.integers(0, 255), tar=st.booleans())
def test_damage_is_one_sentence_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, cut: float, place: float, flip: int, tar: bool
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    archive = (tarred if tar else zipped)(folder / "a")
    data = bytearray(archive.read_bytes())
    data[int(place * (len(data) - 1))] ^= flip
    archive.write_bytes(bytes(data[: max(1, int(cut * len(data)))] if cut < 0.9 else data))
    try:
        extract(archive, folder / "out")
    except UserError:
        assert not (folder / "out").exists()
    else:
        assert files(folder / "out") == CONTENT  # nothing may be lost without a word
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_plain_tar_cut_between_two_members_is_damaged(tmp_path: Path) -> None:
    tarred(tmp_path / "a.tar", {"a": b"x" * 512, "b": b"x" * 512}, "w")
    whole = (tmp_path / "a.tar").read_bytes()
    extract(tmp_path / "a.tar", tmp_path / "whole")
    assert set(files(tmp_path / "whole")) == {"a", "b"}
    broken = bytearray(whole)
    broken[1024] ^= 0xFF  # the header of the second
    for content in (whole[:1024], bytes(broken)):  # cut after the content of the first
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(UserError, match=r"is damaged .*unexpected end"):
            extract(tmp_path / "a.tar", tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_damaged_compression_is_not_taken_for_a_full_disk(tmp_path: Path, mode: str) -> None:
    content = {"a": random.Random(0).randbytes(100_000)}
    archive = tarred(tmp_path / f"a.tar.{mode}", content, f"w:{mode}")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"is damaged or no archive .* download it again"):
        extract(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]
