"""DICOM files look as on a viewer's screen."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

from amif_lightning.answering.dicom import read_dicom
from amif_lightning.errors import UserError


def written(path: Path, values: NDArray[Any], **fields: Any) -> Path:
    """A DICOM file of one grey frame (H, W), several (F, H, W), or with colours (H, W, 3)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    made: Any = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    colours = values.ndim == 3 and values.shape[-1] == 3
    made.SamplesPerPixel = 3 if colours else 1
    made.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        made.PlanarConfiguration = 0
    elif values.ndim == 3:
        made.NumberOfFrames = len(values)
    made.Rows, made.Columns = values.shape[:2] if colours else values.shape[-2:]
    bits = 8 * values.dtype.itemsize
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit = bits - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelData = values.tobytes()
    for name, value in fields.items():
        setattr(made, name, value)
    made.save_as(path, enforce_file_format=True)
    return path


def grey(path: Path, frame: int | None = None) -> NDArray[np.uint8]:
    """(H, W) of a grey picture, whose three channels are equal."""
    pixels = np.asarray(read_dicom(path, frame))
    assert pixels.shape[-1] == 3
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


VALUES = np.array([[0, 500, 1000], [1500, 2000, 4000]], dtype=np.uint16)


def test_without_a_window_the_values_are_stretched(tmp_path: Path) -> None:
    read = grey(written(tmp_path / "a.dcm", VALUES))
    np.testing.assert_array_equal(read, (VALUES / 4000 * 255).round())


def test_the_window_of_the_file_is_applied(tmp_path: Path) -> None:
    """PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5), cut off at 0 and 1."""
    read = grey(written(tmp_path / "a.dcm", VALUES, WindowCenter=1200, WindowWidth=1001))
    share = np.clip((VALUES - 1199.5) / 1000 + 0.5, 0, 1)
    np.testing.assert_array_equal(read, (share * 255).round())
    assert read[0, 0] == 0
    assert read[1, 2] == 255


def test_a_window_that_no_value_fills_keeps_its_contrast(tmp_path: Path) -> None:
    dull = np.full((2, 2), 1000, dtype=np.uint16)
    dull[0, 0] = 1100
    read = grey(written(tmp_path / "a.dcm", dull, WindowCenter=1000, WindowWidth=2001))
    assert 120 < read[1, 1] < 130 < read[0, 0] < 145


def test_several_windows_count_by_the_first(tmp_path: Path) -> None:
    one = grey(written(tmp_path / "a.dcm", VALUES, WindowCenter=1200, WindowWidth=1001))
    fields = {"WindowCenter": [1200, 40], "WindowWidth": [1001, 80]}
    np.testing.assert_array_equal(grey(written(tmp_path / "b.dcm", VALUES, **fields)), one)


def test_hounsfield_units_are_windowed(tmp_path: Path) -> None:
    stored = np.array([[24, 1024, 1064, 1104, 3000]], dtype=np.int16)
    fields = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 81}
    read = grey(written(tmp_path / "ct.dcm", stored, **fields))
    assert read[0].tolist() == [0, 2, 129, 255, 255]  # -1000, 0, 40, 80 and 1976 units


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    plain = grey(written(tmp_path / "a.dcm", VALUES))
    other = written(tmp_path / "b.dcm", VALUES, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(grey(other), 255.0 - plain, atol=1)  # one rounding apart


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_moves_no_contrast(tmp_path: Path, photometric: str) -> None:
    padded = np.array([[65535, 100, 200]], dtype=np.uint16)
    fields = {"PixelPaddingValue": 65535, "PhotometricInterpretation": photometric}
    read = grey(written(tmp_path / "a.dcm", padded, **fields))
    ends = [0, 255] if photometric == "MONOCHROME2" else [255, 0]
    assert read[0].tolist() == [0, *ends]


def test_colours_are_kept(tmp_path: Path) -> None:
    colours = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    read = np.asarray(read_dicom(written(tmp_path / "us.dcm", colours)))
    np.testing.assert_array_equal(read, colours)


def test_brightness_and_colour_difference_becomes_rgb(tmp_path: Path) -> None:
    ybr = np.zeros((1, 2, 3), dtype=np.uint8)
    ybr[0, :] = [(100, 128, 128), (81, 90, 240)]  # grey, and about pure red
    path = written(tmp_path / "us.dcm", ybr, PhotometricInterpretation="YBR_FULL")
    read = np.asarray(read_dicom(path))
    assert read[0, 0].tolist() == [100, 100, 100]
    assert read[0, 1, 0] > 200 > 60 > read[0, 1, 1:].max()


def test_frames_are_chosen(tmp_path: Path) -> None:
    frames = np.stack([VALUES.T, VALUES.T[:, ::-1]])
    path = written(tmp_path / "cine.dcm", frames)
    np.testing.assert_array_equal(grey(path, 1), grey(path, 0)[:, ::-1])
    with pytest.raises(UserError, match="holds 2 frames: choose one"):
        read_dicom(path)
    with pytest.raises(UserError, match="--frame is 0 to 1"):
        read_dicom(path, 2)


def test_a_lossless_compression_that_pydicom_brings_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", VALUES)
    plain = grey(path)
    made = pydicom.dcmread(path)
    made.compress(RLELossless)
    made.save_as(tmp_path / "rle.dcm")
    np.testing.assert_array_equal(grey(tmp_path / "rle.dcm"), plain)


def test_a_compression_without_decoder_is_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", VALUES)
    made = pydicom.dcmread(path)
    made.compress(RLELossless)
    made.file_meta.TransferSyntaxUID = pydicom.uid.HEVCMP51
    made.save_as(tmp_path / "hevc.dcm")
    with pytest.raises(UserError, match=r"is compressed as .*convert the file to PNG"):
        read_dicom(tmp_path / "hevc.dcm")


def test_a_file_without_picture_is_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", VALUES)
    made = pydicom.dcmread(path)
    del made.PixelData
    made.save_as(path)
    with pytest.raises(UserError, match="without a picture"):
        read_dicom(path)


@pytest.mark.parametrize("kept", [0, 100, 132, 300, 700])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path / "a.dcm", np.zeros((40, 40), dtype=np.uint16))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cannot be read as DICOM|without a picture"):
        read_dicom(path)


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pydicom"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'amif-lightning\[dicom\]'"):
        read_dicom(tmp_path / "a.dcm")
