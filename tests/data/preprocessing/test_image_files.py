"""Files become images as in a data set; folders are searched for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amif_lightning.data.preprocessing.image_files import images_in, is_dicom, read_image
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.errors import UserError


def test_deep_grey_is_stretched_as_in_a_data_set(tmp_path: Path) -> None:
    values = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    read = np.asarray(read_image(tmp_path / "deep.png", 32))
    assert (read.min(), read.max()) == (0, 255)
    np.testing.assert_array_equal(read, np.asarray(decode_image(tmp_path / "deep.png")))


def test_an_opened_image_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    Image.new("L", (20, 10)).save(tmp_path / "lying.jpg", exif=exif)
    with Image.open(tmp_path / "lying.jpg") as opened:
        assert read_image(opened, 8).size == (10, 20)
    assert read_image(tmp_path / "lying.jpg", 8).size == (10, 20)


def test_an_opened_image_that_breaks_off_is_one_sentence(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:1500])
    with (
        Image.open(tmp_path / "a.png") as opened,
        pytest.raises(UserError, match="image cannot be read"),
    ):
        read_image(opened, 8)


def test_a_folder_gives_its_images_sorted_and_counts_the_rest(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/c.tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "1.2.840").write_bytes(b"\0" * 128 + b"DICM")  # as archives name them
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")  # a disc's table of contents
    found, others = images_in(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "1.2.840",
        "a.JPG",
        "b.png",
        "deep/c.tiff",
    ]
    assert others == 2


def test_dicom_is_told_by_name_or_content(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"DICM")
    assert not is_dicom(tmp_path / "short")
    assert not is_dicom(tmp_path / "absent")
    assert is_dicom(tmp_path / "absent.dcm")


def test_frames_belong_to_dicom(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="has no frames"):
        read_image(tmp_path / "a.png", 4, frame=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "is a folder"), ("none.png", "does not exist"), ("bad.png", "damaged")],
)
def test_what_is_no_image_is_one_sentence(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=message):
        read_image(tmp_path / name, 4)
