"""VQA-Med-2019 as downloaded: zips in the place of folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from data_modules.vqa.vqa_med_2019 import VQAMed2019
from tests.fakes import write_vqa_med_2019

FOLDERS = ("ImageClef-2019-VQA-Med-Training", "ImageClef-2019-VQA-Med-Validation", "VQAMed2019Test")
TEST_IMAGES = "VQAMed2019Test/VQAMed2019_Test_Images"


def pack(folder: Path, *, with_folder: bool = True) -> Path:
    """Replace a folder by its zip."""
    base = folder.name if with_folder else "."
    top = folder.parent if with_folder else folder
    archive = Path(shutil.make_archive(str(folder.parent / f"{folder.name}"), "zip", top, base))
    shutil.rmtree(folder)
    return archive


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    root = tmp_path / "zipped"
    write_vqa_med_2019(root)
    pack(root / TEST_IMAGES)
    for name in FOLDERS:
        pack(root / name)
    return root


def module(root: Path) -> VQAMed2019:
    return VQAMed2019(str(root), unpacked=str(root.parent / "unpacked"))


def test_zips_give_the_rows_and_images_of_the_folders(zipped: Path, tmp_path: Path) -> None:
    write_vqa_med_2019(tmp_path / "folders")
    data = module(zipped)
    data.prepare_data()
    assert data.release == module(tmp_path / "folders").release
    for rows in data.release.splits.values():
        for row in rows:
            expected = tmp_path / "folders" / row.image
            assert data.file_of(row).read_bytes() == expected.read_bytes()
    assert not data.audit().failed
    assert {path.suffix for path in zipped.iterdir()} == {".zip"}  # nothing was written there


@pytest.mark.parametrize("with_folder", [True, False])
def test_the_test_images_alone_are_a_zip(tmp_path: Path, with_folder: bool) -> None:
    root = tmp_path / "root"
    write_vqa_med_2019(root)
    pack(root / TEST_IMAGES, with_folder=with_folder)
    data = module(root)
    assert "unzip" in module(root).release.absent["test images"]
    data.prepare_data()
    assert not data.release.absent
    assert all(data.file_of(row).is_file() for row in data.release.splits["test"])


def test_what_is_unpacked_is_kept_and_a_new_zip_is_unpacked_anew(zipped: Path) -> None:
    data = module(zipped)
    data.prepare_data()
    first = data.file_of(data.release.splits["train"][0])
    first.write_bytes(b"kept")
    data.prepare_data()
    assert first.read_bytes() == b"kept"
    os.utime(zipped / f"{FOLDERS[0]}.zip", (1, 1))
    again = module(zipped)
    again.prepare_data()
    assert again.file_of(again.release.splits["train"][0]).read_bytes() != b"kept"


def test_rows_before_unpacking_and_a_damaged_zip(zipped: Path) -> None:
    with pytest.raises(UserError, match=r"Training\.zip is not unpacked yet"):
        assert module(zipped).release
    (zipped / f"{FOLDERS[0]}.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match=r"Training\.zip is damaged"):
        module(zipped).prepare_data()
