"""Hashes of images, cached on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from amif_lightning.data.leakage import hash_cache
from amif_lightning.data.leakage.hash_cache import HashStore
from amif_lightning.data.leakage.image_hash import look_at
from amif_lightning.errors import UserError
from tests.data.leakage.plain_look import look
from tests.data.tiny_release import write_png


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are read."""
    names: list[str] = []

    def counted(path: Path, max_pixels: int) -> object:
        names.append(path.name)
        return look_at(path)

    monkeypatch.setattr(hash_cache, "look_at", counted)
    return names


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    files = {f"{name}/x/{i}.png": tmp_path / name / f"{i}.png" for name in "AB" for i in range(5)}
    for seed, file in enumerate(files.values()):
        write_png(file, seed)
    return files


def check(store: HashStore, images: Mapping[str, Path]) -> None:
    """The store gives exactly the hashes of reading."""
    kept, anew = store.look(images), look(images)
    assert kept.names == anew.names
    assert kept.damaged == anew.damaged
    assert np.array_equal(kept.hashes, anew.hashes)
    assert np.array_equal(kept.pixels, anew.pixels)


def test_each_image_is_read_once(tmp_path: Path, images: dict[str, Path], read: list[str]) -> None:
    folder = tmp_path / "hashes"
    check(HashStore(folder, progress=False), images)
    assert len(read) == 10
    check(HashStore(folder, progress=False), dict(reversed(images.items())))
    assert len(read) == 10
    assert sorted(p.name for p in folder.glob("[!.]*")) == ["A.npz", "B.npz"]
    assert not list(folder.glob(".*part*"))
    some = dict(list(images.items())[:2])
    check(HashStore(folder, progress=False), some)
    check(HashStore(folder, progress=False), images)  # asking for some forgets none
    assert len(read) == 10


def test_changed_images_are_read_again(
    tmp_path: Path, images: dict[str, Path], read: list[str]
) -> None:
    store = HashStore(tmp_path / "hashes", progress=False)
    check(store, images)
    read.clear()
    write_png(images["A/x/1.png"], 77)
    os.utime(images["A/x/1.png"], ns=(5, 5))
    os.utime(images["B/x/2.png"], ns=(6, 6))
    check(store, images)
    assert sorted(read) == ["1.png", "2.png"]


def test_a_killed_call_goes_on_where_it_was(
    tmp_path: Path, images: dict[str, Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_cache, "PART", 2)
    store, write = HashStore(tmp_path / "hashes", progress=False), hash_cache._write
    writes = 0

    def killed(path: Path, entries: object) -> None:
        nonlocal writes
        writes += 1
        if writes == 3:
            raise KeyboardInterrupt
        write(path, entries)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(hash_cache, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        store.look(images)
    assert len(list((tmp_path / "hashes").glob(".A.part-*.npz"))) == 2
    monkeypatch.setattr(hash_cache, "_write", write)
    read.clear()
    check(store, images)
    assert sorted(read) == sorted(["4.png", *(f"{i}.png" for i in range(5))])
    assert not list((tmp_path / "hashes").glob(".*part*"))


def test_a_file_that_is_not_whole_is_made_anew(
    tmp_path: Path, images: dict[str, Path], read: list[str]
) -> None:
    store = HashStore(tmp_path / "hashes", progress=False)
    store.look(images)
    file = tmp_path / "hashes" / "A.npz"
    for content in (file.read_bytes()[:700], b"", b"text"):
        file.write_bytes(content)
        read.clear()
        check(store, images)
        check(store, images)
        assert len(read) == 5


def test_damaged_and_missing_images_are_named_and_tried_again(
    tmp_path: Path, images: dict[str, Path], read: list[str]
) -> None:
    store = HashStore(tmp_path / "hashes", progress=False)
    images["A/x/0.png"].write_bytes(b"no image")
    images["B/x/4.png"].unlink()
    check(store, images)
    found = store.look(images)
    assert set(found.damaged) == {"A/x/0.png", "B/x/4.png"}
    assert "does not exist" in found.damaged["B/x/4.png"]
    write_png(images["A/x/0.png"], 3)
    read.clear()
    assert set(store.look(images).damaged) == {"B/x/4.png"}
    assert read == ["0.png", "4.png"]


def test_a_folder_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, images: dict[str, Path]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*--hashes"):
        HashStore(tmp_path / "file", progress=False).look(images)
    found = HashStore(tmp_path / "file", progress=False).look({})  # which writes nothing
    assert (found.hashes.shape, found.pixels.shape) == ((0, 255), (0, 1024))
