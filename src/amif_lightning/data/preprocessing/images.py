"""Decode image files of any mode to 8-bit RGB, large JPEGs at reduced size."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from amif_lightning.errors import UserError, first_line

# Errors of Pillow's readers on damaged files; a bomb's header claims too many pixels.
DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB.

    Deep grey values (16 or 32 bits, or float) are scaled linearly from the image's own minimum and
    maximum to 0 and 255, since released 16-bit radiographs rarely use their whole range. Non-finite
    values and transparent parts become black.
    """
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        finite = np.isfinite(values)
        low = float(values.min(where=finite, initial=np.inf))
        high = float(values.max(where=finite, initial=-np.inf))
        values = np.where(finite, values, low)
        scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
        return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        background = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        return Image.alpha_composite(background, layered).convert("RGB")
    return image.convert("RGB")


def decode_image(path: Path | BytesIO, min_side: int | None = None) -> Image.Image:
    """Read an image, from a path or its bytes, as 8-bit RGB.

    ``min_side`` decodes JPEGs at libjpeg's smallest scale with that many pixels on the shorter
    side, which is much faster for large images. None gives the full size.

    Raises:
        UserError: If the file is missing, truncated or not an image.
    """
    try:
        with Image.open(path) as image:
            if min_side is not None:
                # draft() keeps both sides at least as long as those of the box.
                image.draft(None, (min_side, min_side))
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise UserError(
            f"The image {path} does not exist: check the data set's folder with "
            "`python -m amif_lightning audit`."
        ) from error
    except DAMAGED as error:
        raise UserError(
            f"The image {path} is damaged or truncated ({first_line(error)}): copy or download it "
            "again."
        ) from error
