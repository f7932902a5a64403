"""DICOM files as pictures that look as on a viewer's screen: windowed, and bone bright.

Reading is pydicom's (an extra of this suite); standard part 3, C.7.6.3.1.2 and C.11.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amif_lightning.errors import UserError

INSTALL = "pip install 'amif-lightning[dicom]'"
_FAR = 1e12  # beyond every stored value: where a window is closed on both sides


def read_dicom(path: Path, frame: int | None = None) -> Image.Image:
    """One frame as 8-bit RGB.

    Grey values go through the modality's table, then through the file's first window (or its table
    of values of interest); without either the frame's own darkest and brightest values become 0
    and 255. ``MONOCHROME1``, in which low values are bright, is inverted. Padding is black.

    Args:
        path: The file.
        frame: Frame, counted from 0; None for a file of one frame.

    Raises:
        UserError: If pydicom is not installed, the file cannot be read, holds no picture, is
            compressed in a way that nothing installed decodes, or has several frames and none, or
            one that it lacks, is chosen.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
        from pydicom.pixels import pixel_array
    except ImportError as error:
        raise UserError(f"{path} is a DICOM file, which needs pydicom: {INSTALL}.") from error
    try:
        header: Any = pydicom.dcmread(path)
    except FileNotFoundError as error:
        raise UserError(f"The image {path} does not exist: check the path.") from error
    # pydicom's parser meets whatever a damaged file holds.
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error
    if "PixelData" not in header:
        raise UserError(f"{path} is a DICOM file without a picture: give one with pixel data.")
    try:
        index = _frame(path, int(header.get("NumberOfFrames") or 1), frame)
        # Colours come as RGB, whatever they are stored as.
        values: NDArray[Any] = pixel_array(header, index=index)
        if values.ndim == 3:
            return Image.fromarray(_eight_bits(values, header))
        return Image.fromarray(_grey(values, header)).convert("RGB")
    except UserError:
        raise
    except (RuntimeError, NotImplementedError) as error:  # no decoder, as pydicom says it
        syntax = header.file_meta.TransferSyntaxUID.name
        raise UserError(
            f"{path} is compressed as {syntax}, which nothing installed decodes: install a decoder "
            "that pydicom knows, or convert the file to PNG."
        ) from error
    except (ValueError, KeyError, AttributeError, TypeError, IndexError, OSError) as error:
        raise _damaged(path, error) from error


def _frame(path: Path, frames: int, chosen: int | None) -> int:
    if chosen is None:
        if frames > 1:
            raise UserError(f"{path} holds {frames} frames: choose one with --frame, from 0.")
        return 0
    if not 0 <= chosen < frames:
        raise UserError(f"{path} holds {frames} frames, so --frame is 0 to {frames - 1}.")
    return chosen


def _eight_bits(values: NDArray[Any], header: Any) -> NDArray[np.uint8]:
    """Colour values (H, W, 3) of any depth as 8 bits."""
    most = 2 ** int(header.BitsStored) - 1
    scaled: NDArray[np.uint8] = (values * (255.0 / most)).round().clip(0, 255).astype(np.uint8)
    return scaled


def _grey(stored: NDArray[Any], header: Any) -> NDArray[np.uint8]:
    """Stored grey values (H, W) as a screen shows them."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

    values = apply_modality_lut(stored, header)
    if "WindowCenter" in header and "WindowWidth" in header:
        shown = apply_windowing(values, header)
        # What the window closes on is not always reached: it is asked for.
        low, high = apply_windowing(np.array([-_FAR, _FAR]), header).tolist()
    elif "VOILUTSequence" in header:
        shown = apply_voi_lut(values, header)
        low, high = 0.0, 2.0 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1
    else:
        shown = values
        real = values[~_padding(stored, header)]
        low, high = (float(real.min()), float(real.max())) if real.size else (0.0, 0.0)
    share = np.clip((shown.astype(np.float64) - low) / max(high - low, 1e-12), 0.0, 1.0)
    if header.PhotometricInterpretation == "MONOCHROME1":
        share = 1.0 - share
    share[_padding(stored, header)] = 0.0
    pixels: NDArray[np.uint8] = (share * 255.0).round().astype(np.uint8)
    return pixels


def _padding(stored: NDArray[Any], header: Any) -> NDArray[np.bool_]:
    """(H, W) where the file says that there is no picture."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    ends = (int(value), int(header.get("PixelPaddingRangeLimit", value)))
    found: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return found


def _damaged(path: Path, error: Exception) -> UserError:
    what = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"The image {path} cannot be read as DICOM ({what}): export it again.")
