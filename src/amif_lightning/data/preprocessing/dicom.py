"""DICOM files as a viewer displays them: windowed, with bright bone.

See the standard, part 3, C.7.6.3.1.2 and C.11.2. pydicom, an optional dependency, reads the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amif_lightning.data.preprocessing.images import MAX_PIXELS, check_pixels
from amif_lightning.errors import UserError, first_line

_FAR = 1e12  # beyond every stored value, where every window is saturated
# Elements that determine the display of stored values, in the file itself ...
_SHOWING = (
    *("PhotometricInterpretation", "BitsStored", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
# ... and, of enhanced objects, in groups of all frames and of each.
_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


def read_dicom(path: Path, frame: int | None = None) -> Image.Image:
    """Read a frame, counted from 0, as 8-bit RGB; None reads a single-frame file.

    Grey values are mapped by the modality LUT or rescale, then by the first window or VOI LUT of
    the frame or file. Without these, the frame's own minimum and maximum become 0 and 255.
    ``MONOCHROME1``, in which low values are bright, is inverted. Padding becomes black. Elements
    without a value count as absent.

    Raises:
        UserError: If pydicom is missing, the file cannot be read, has no image or no such frame,
            has several frames and none is chosen, or no installed decoder supports it.
    """
    try:
        import pydicom
        from pydicom.pixels import pixel_array
    except ImportError as error:
        raise UserError(
            f"{path} is a DICOM file, which needs pydicom: pip install 'amif-lightning[dicom]'."
        ) from error
    try:
        header: Any = pydicom.dcmread(path)
        if "PixelData" not in header:
            raise UserError(f"{path} is a DICOM file without an image: give one with pixel data.")
        index = _frame(path, int(header.get("NumberOfFrames") or 1), frame)
        syntax = header.file_meta.TransferSyntaxUID
        if not _has_decoder(syntax):
            raise UserError(
                f"{path} is compressed as {syntax.name}, which no installed decoder supports: "
                "install a decoder for pydicom, or convert the file to PNG."
            )
        check_pixels(path, int(header.Rows) * int(header.Columns), MAX_PIXELS)
        # YBR becomes RGB; palette indices stay as they are.
        values: NDArray[Any] = pixel_array(header, index=index)
        return Image.fromarray(_shown(path, values, header, index)).convert("RGB")
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"The image {path} does not exist: check the path.") from error
    except Exception as error:  # pydicom raises errors of any type on files against the standard
        raise UserError(
            f"The image {path} cannot be read as DICOM ({first_line(error)}): export it again."
        ) from error


def _has_decoder(syntax: Any) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _frame(path: Path, frames: int, chosen: int | None) -> int:
    if chosen is None and frames > 1:
        raise UserError(f"{path} holds {frames} frames: choose a frame, from 0.")
    index = chosen or 0
    if not 0 <= index < frames:
        raise UserError(f"{path} holds {frames} frames: the frame is 0 to {frames - 1}.")
    return index


def _shown(path: Path, values: NDArray[Any], header: Any, index: int) -> NDArray[np.uint8]:
    """Display values of a frame (H, W) or (H, W, 3)."""
    if values.ndim == 3:
        return _scaled(values, 2 ** int(header.BitsStored) - 1)
    photometric = header.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        return _coloured(values, header)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UserError(
            f"{path} stores its image as {photometric}, which is not supported: convert the file "
            "to PNG."
        )
    return _grey(values, _showing(header, index), _order(header))


def _scaled(values: NDArray[Any], maximum: float) -> NDArray[np.uint8]:
    """Scale values from 0 to ``maximum`` to 8 bits."""
    scaled: NDArray[np.uint8] = (values * (255.0 / maximum)).round().clip(0, 255).astype(np.uint8)
    return scaled


def _coloured(values: NDArray[Any], header: Any) -> NDArray[np.uint8]:
    """Colours (H, W, 3) of palette indices (H, W)."""
    from pydicom.pixels import apply_color_lut

    if "RedPaletteColorLookupTableData" not in header:  # stored in segments
        colours = apply_color_lut(values, header)[..., :3]
        return _scaled(colours, np.iinfo(colours.dtype).max)
    channels = []
    for name in ("Red", "Green", "Blue"):
        descriptor = header[f"{name}PaletteColorLookupTableDescriptor"].value
        data = header[f"{name}PaletteColorLookupTableData"].value
        channels.append(_scaled(*_looked_up(values, descriptor, data, _order(header))))
    return np.stack(channels, axis=-1)


def _showing(header: Any, index: int) -> Any:
    """Display elements of one frame; per-frame elements replace shared ones."""
    from pydicom import Dataset

    shared = header.get("SharedFunctionalGroupsSequence") or []
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*shared, *frames[index : index + 1]]
    found = Dataset()
    for part in (header, *(p for group in groups for n in _GROUPS for p in group.get(n) or [])):
        for name in _SHOWING:
            if name in part and not part[name].is_empty:
                found.add(part[name])
    return found


def _grey(stored: NDArray[Any], showing: Any, order: str) -> NDArray[np.uint8]:
    """Display values of stored grey values (H, W)."""
    from pydicom.pixels import apply_rescale, apply_windowing

    padding = _padding(stored, showing)
    if "ModalityLUTSequence" in showing:
        table = showing.ModalityLUTSequence[0]
        values, _ = _looked_up(stored, table.LUTDescriptor, table.LUTData, order)
    else:
        values = apply_rescale(stored, showing)
    if _has_window(showing):
        shown = apply_windowing(values, showing)
        # The frame may not reach the ends of the window, so they are computed.
        low, high = apply_windowing(np.array([-_FAR, _FAR]), showing).tolist()
    elif "VOILUTSequence" in showing:
        table = showing.VOILUTSequence[0]
        shown, high = _looked_up(values, table.LUTDescriptor, table.LUTData, order)
        low = 0.0
    else:
        shown = values
        real = values[~padding]
        low, high = (float(real.min()), float(real.max())) if real.size else (0.0, 0.0)
    # With a negative rescale slope both differences are negative.
    span = (high - low) or 1.0
    share = np.clip((shown.astype(np.float64) - low) / span, 0.0, 1.0)
    if showing.PhotometricInterpretation == "MONOCHROME1":
        share = 1.0 - share
    share[padding] = 0.0
    return _scaled(share, 1.0)


def _has_window(showing: Any) -> bool:
    if "WindowCenter" not in showing or "WindowWidth" not in showing:
        return False
    width = showing["WindowWidth"]
    first = float(width.value if width.VM == 1 else width.value[0])
    return first >= 1 if showing.get("VOILUTFunction", "LINEAR") == "LINEAR" else first > 0


def _looked_up(
    values: NDArray[Any], descriptor: Sequence[int], data: Any, order: str
) -> tuple[NDArray[Any], float]:
    """Look up values in a LUT; also return its greatest possible entry (C.11.1.1, C.11.2.1.1).

    ``descriptor`` holds the number of entries (0: 65536), the first mapped value and the bits of an
    entry; ``data`` holds numbers, bytes, or 16-bit words of byte order ``order``, ``<`` or ``>``.
    pydicom's own functions store indices in too few bits: 300 in an 8-bit LUT becomes 44.
    """
    entries, first, bits = (int(number) for number in descriptor)
    entries = entries or 2**16
    if first >= 2**15 and values.min() < 0:
        first -= 2**16  # it is read with the sign of the stored values, which may be unsigned
    if isinstance(data, bytes):
        data = np.frombuffer(data, f"{order}u{1 if len(data) < 2 * entries else 2}")
    found = np.asarray(data)[:entries]
    maximum = min(2**bits - 1, 255 if found.dtype == np.uint8 else 2**16 - 1)
    places = np.rint(values).astype(np.int64) - first
    return found[places.clip(0, len(found) - 1)], float(maximum)


def _order(header: Any) -> str:
    return "<" if header.file_meta.TransferSyntaxUID.is_little_endian else ">"


def _padding(stored: NDArray[Any], showing: Any) -> NDArray[np.bool_]:
    value = showing.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    ends = (int(value), int(showing.get("PixelPaddingRangeLimit", value)))
    found: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return found
