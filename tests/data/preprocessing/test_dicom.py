"""DICOM files look as on a viewer's screen."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

from amif_lightning.data.preprocessing.dicom import read_dicom
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
    """(H, W) of a grey image with three equal channels."""
    pixels = np.asarray(read_dicom(path, frame))
    assert pixels.shape[-1] == 3
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


VALUES = np.array([[0, 500, 1000, 1500, 2000, 4000]], dtype=np.uint16)
SPREAD = [0, 32, 64, 96, 128, 255]  # from 0 to 4000
# PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5), cut off at 0 and 1.
WINDOWED = [0, 0, 77, 204, 255, 255]
CT = {"RescaleSlope": 1, "RescaleIntercept": -1024}
FALLING = {"RescaleSlope": -1, "RescaleIntercept": 4095, "BitsStored": 12, "HighBit": 11}
PADDED = {"PixelPaddingValue": 65535}


@pytest.mark.parametrize(
    ("stored", "fields", "expected"),
    [
        ([0, 500, 1000, 1500, 2000, 4000], {}, SPREAD),
        (VALUES[0], {"PhotometricInterpretation": "MONOCHROME1"}, [255, 223, 191, 159, 128, 0]),
        (VALUES[0], {"WindowCenter": 1200, "WindowWidth": 1001}, WINDOWED),
        (VALUES[0], {"WindowCenter": [1200, 40], "WindowWidth": [1001, 80]}, WINDOWED),
        # A window that no value fills keeps its contrast.
        ([1000, 1100], {"WindowCenter": 1000, "WindowWidth": 2001}, [128, 140]),
        # Hounsfield units -1000, 0, 40, 80 and 1976.
        (
            [24, 1024, 1064, 1104, 3000],
            CT | {"WindowCenter": 40, "WindowWidth": 81},
            [0, 2, 129, 255, 255],
        ),
        # A falling rescale: 4095 is the least value, so it is the darkest.
        (
            [4095, 2095, 95, 0],
            FALLING | {"WindowCenter": 2000, "WindowWidth": 4001},
            [0, 128, 255, 255],
        ),
        # Padding is black and moves no contrast.
        ([65535, 100, 200], PADDED, [0, 0, 255]),
        ([65535, 100, 200], PADDED | {"PhotometricInterpretation": "MONOCHROME1"}, [0, 255, 0]),
        # Elements without a value count as absent; anonymised files are full of them.
        (VALUES[0], {"WindowCenter": None, "WindowWidth": None}, SPREAD),
        (VALUES[0], {"WindowCenter": 1200, "WindowWidth": 0}, SPREAD),
        (VALUES[0], {"RescaleSlope": None, "RescaleIntercept": None}, SPREAD),
        (VALUES[0], {"VOILUTFunction": None, "VOILUTSequence": []}, SPREAD),
        (VALUES[0], {"PixelPaddingRangeLimit": None}, SPREAD),
    ],
)
def test_grey_values_are_shown_as_on_a_screen(
    tmp_path: Path, stored: list[int], fields: dict[str, Any], expected: list[int]
) -> None:
    path = written(tmp_path / "a.dcm", np.array([stored], dtype=np.uint16), **fields)
    assert grey(path)[0].tolist() == expected


def table(first: int, bits: int, entries: NDArray[Any], vr: str = "US") -> Sequence:
    """A table of values of interest, as numbers or as packed bytes."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    value = entries.tobytes() if vr == "OW" else [int(number) for number in entries]
    item.add_new("LUTData", vr, value)
    return Sequence([item])


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("bits", [8, 12])
def test_a_table_of_values_of_interest_is_applied(tmp_path: Path, vr: str, bits: int) -> None:
    """More entries than 8 bits can count, also where each entry has 8."""
    most = 2**bits - 1
    entries = np.linspace(most, 0, 4096).round().astype(np.uint16)  # bright where values are low
    stored = np.array([[0, 500, 3000, 4095]], dtype=np.uint16)
    fields = {"VOILUTSequence": table(0, bits, entries, vr), "BitsStored": 12, "HighBit": 11}
    read = grey(written(tmp_path / "a.dcm", stored, **fields))
    np.testing.assert_allclose(read[0], 255 * (1 - stored[0] / 4095), atol=1)


def test_a_table_holds_its_ends_beyond_them(tmp_path: Path) -> None:
    """After the rescale, to -1024, the table starts at -24; its bytes are packed."""
    stored = np.array([[0, 1000, 1001, 1002, 1003, 4000]], dtype=np.uint16)
    tables = table(-24, 8, np.array([10, 100, 200, 250], dtype=np.uint8), "OW")
    fields = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": tables}
    tables[0]["LUTDescriptor"].VR = "SS"
    read = grey(written(tmp_path / "a.dcm", stored, **fields))
    assert read[0].tolist() == [10, 10, 100, 200, 250, 250]


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_table_of_the_modality_is_applied(tmp_path: Path, vr: str) -> None:
    """Its first value is -32768, from which no place fits into the 16 bits of the pixels."""
    entries = (2 * np.arange(30000)).astype(np.uint16)
    tables = table(-32768, 16, entries, vr)
    tables[0]["LUTDescriptor"].VR = "SS"
    stored = np.array([[-32768, -32668, -22768, 0]], dtype=np.int16)
    read = grey(written(tmp_path / "a.dcm", stored, ModalityLUTSequence=tables))
    assert read[0].tolist() == [0, 1, 85, 255]  # values 0, 200, 20000 and the last, 59998


def test_the_first_value_of_a_table_has_the_sign_of_what_it_is_for(tmp_path: Path) -> None:
    """Without stored types it is read with the pixels' sign; the rescale can give another."""
    stored = np.array([[0, 1024, 3071, 4000]], dtype=np.uint16)
    entries = np.arange(4096).astype(np.uint16)
    fields = {
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "VOILUTSequence": table(2**16 - 1024, 12, entries),
    }
    read = grey(written(tmp_path / "a.dcm", stored, **fields))
    np.testing.assert_allclose(read[0], 255.0 * stored[0] / 4095, atol=0.51)


def group(**fields: float) -> Dataset:
    """A functional group of an enhanced object."""
    made, window, rescale = Dataset(), Dataset(), Dataset()
    for name, value in fields.items():
        setattr(window if name.startswith("Window") else rescale, name, value)
    if len(window):
        made.FrameVOILUTSequence = Sequence([window])
    if len(rescale):
        made.PixelValueTransformationSequence = Sequence([rescale])
    return made


def test_each_frame_of_an_enhanced_file_has_its_own_window(tmp_path: Path) -> None:
    stored = np.array([[24, 1024, 1064, 1104, 3000]], dtype=np.int16)
    shared = group(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=500, WindowWidth=3001)
    fields = {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(
            [group(), group(WindowCenter=40, WindowWidth=81)]
        ),
    }
    path = written(tmp_path / "ct.dcm", np.stack([stored, stored]), **fields)
    assert grey(path, 1)[0].tolist() == [0, 2, 129, 255, 255]
    assert grey(path, 0)[0].tolist() == [0, 85, 88, 92, 253]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_its_colours(tmp_path: Path, bits: int) -> None:
    stored = np.array([[0, 1, 2]], dtype=np.uint8)
    dtype, most = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
    fields: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for place, name in enumerate(("Red", "Green", "Blue")):
        entries = np.zeros(4, dtype=dtype)
        entries[place] = most
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        fields[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    read = np.asarray(read_dicom(written(tmp_path / "us.dcm", stored, **fields)))
    np.testing.assert_array_equal(read[0], 255 * np.eye(3))


def test_a_palette_of_bytes_in_words_holds_its_end(tmp_path: Path) -> None:
    """More indices than entries, and entries of 8 bits in words of 16."""
    stored = np.array([[0, 255, 300]], dtype=np.uint16)
    fields: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        fields[f"{name}PaletteColorLookupTableData"] = np.arange(256).astype("<u2").tobytes()
    read = grey(written(tmp_path / "us.dcm", stored, **fields))
    assert read[0].tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("photometric", "stored", "expected"),
    [
        ("RGB", [(10, 20, 30), (0, 255, 7)], [(10, 20, 30), (0, 255, 7)]),
        # Brightness and colour differences: grey, and about pure red.
        ("YBR_FULL", [(100, 128, 128), (76, 85, 255)], [(100, 100, 100), (254, 0, 0)]),
    ],
)
def test_colours(tmp_path: Path, photometric: str, stored: list[Any], expected: list[Any]) -> None:
    colours = np.array([stored], dtype=np.uint8)
    path = written(tmp_path / "us.dcm", colours, PhotometricInterpretation=photometric)
    np.testing.assert_allclose(np.asarray(read_dicom(path))[0].astype(int), expected, atol=1)


def test_frames_are_chosen(tmp_path: Path) -> None:
    path = written(tmp_path / "cine.dcm", np.stack([VALUES, VALUES[:, ::-1]]))
    np.testing.assert_array_equal(grey(path, 1), grey(path, 0)[:, ::-1])
    with pytest.raises(UserError, match="holds 2 frames: choose a frame"):
        read_dicom(path)
    with pytest.raises(UserError, match="the frame is 0 to 1"):
        read_dicom(path, 2)


def test_a_lossless_compression_that_pydicom_brings_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", VALUES)
    plain = grey(path)
    made = pydicom.dcmread(path)
    made.compress(RLELossless)
    made.save_as(tmp_path / "rle.dcm")
    np.testing.assert_array_equal(grey(tmp_path / "rle.dcm"), plain)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("syntax", r"is compressed as .*convert the file to PNG"),
        ("stream", "cannot be read as DICOM"),  # and not a missing decoder
        ("no pixels", "without an image"),
        ("colours", "stores its image as HSV"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(tmp_path: Path, damage: str, sentence: str) -> None:
    colours = {"PhotometricInterpretation": "HSV"} if damage == "colours" else {}
    path = written(tmp_path / "a.dcm", VALUES, **colours)
    made = pydicom.dcmread(path)
    if damage == "no pixels":
        del made.PixelData
    elif damage != "colours":
        made.compress(RLELossless)
        if damage == "syntax":
            made.file_meta.TransferSyntaxUID = pydicom.uid.HEVCMP51
        else:
            made.PixelData = made.PixelData[:8] + b"\xff" * (len(made.PixelData) - 8)
    made.save_as(path)
    with pytest.raises(UserError, match=sentence):
        read_dicom(path)


@pytest.mark.parametrize("kept", [0, 100, 132, 300, 700])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path / "a.dcm", np.zeros((40, 40), dtype=np.uint16))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cannot be read as DICOM|without an image"):
        read_dicom(path)


@pytest.mark.parametrize(
    ("fields", "replaced", "sentence"),
    [
        ({}, (b"(\0\x10\0US\x02\0\x28\0", b"(\0\x10\0US\x03\0\x28\0\0"), "cannot be read as DICOM"),
        ({"NumberOfFrames": 1}, (b"IS\x02\0001 ", b"IS\x02\0x "), "cannot be read as DICOM"),
        ({"Rows": 60_000, "Columns": 60_000}, (b"", b""), "has 3600000000 pixels, more than the"),
    ],
)
def test_elements_that_break_the_standard_are_one_sentence(
    tmp_path: Path, fields: dict[str, Any], replaced: tuple[bytes, bytes], sentence: str
) -> None:
    path = written(tmp_path / "a.dcm", np.zeros((40, 40), dtype=np.uint16), **fields)
    data = path.read_bytes()
    assert replaced[0] in data
    path.write_bytes(data.replace(*replaced))
    with pytest.raises(UserError, match=sentence):
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
