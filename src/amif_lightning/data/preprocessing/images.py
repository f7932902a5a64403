"""Decode image files of any mode to 8-bit RGB, large JPEGs at reduced size."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from amif_lightning.errors import UserError, first_line

#: A black image of 224 pixels, shown by the blank-image control.
BLANK_IMAGE = Path(__file__).with_name("blank.png")
#: Default limit on decoded pixels, where Pillow begins to warn. A file of 1 MB may hold more.
MAX_PIXELS = 89_478_485
_BLOCK = 2**20  # deep pixels that are scaled at a time


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB.

    Deep grey values (16 or 32 bits, or float) are scaled linearly from the image's own minimum and
    maximum to 0 and 255, since released 16-bit radiographs rarely use their whole range. Non-finite
    values and transparent parts become black.
    """
    return _shown(image).convert("RGB")


def _shown(image: Image.Image) -> Image.Image:
    """An image of 8 bits without transparency; deep values are scaled in blocks to save memory."""
    if image.mode.startswith(("I", "F")):
        rows = max(1, _BLOCK // max(1, image.width))
        tops = range(0, image.height, rows)
        blocks = [(0, top, image.width, min(top + rows, image.height)) for top in tops]
        low, high = np.inf, -np.inf
        for block in blocks:
            values = np.asarray(image.crop(block), dtype=np.float64)
            finite = np.isfinite(values)
            low = float(values.min(where=finite, initial=low))
            high = float(values.max(where=finite, initial=high))
        grey = Image.new("L", image.size)
        for block in blocks if high > low else ():
            values = np.asarray(image.crop(block), dtype=np.float64)
            values = np.where(np.isfinite(values), values, low)
            scaled = (values - low) * (255.0 / (high - low))
            grey.paste(Image.fromarray(scaled.round().astype(np.uint8)), block)
        return grey
    if image.has_transparency_data:
        layered = image if image.mode == "RGBA" else image.convert("RGBA")
        black = Image.new("RGB", layered.size)
        black.paste(layered, mask=layered)
        return black
    return image


def decode_image(
    path: Path | BytesIO, min_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Read an image, from a path or its bytes, as 8-bit RGB.

    ``min_side`` decodes JPEGs at libjpeg's smallest scale with that many pixels on the shorter
    side, which is much faster for large images. None gives the full size.

    Raises:
        UserError: If the file is missing, truncated or not an image, or has more than
            ``max_pixels`` pixels, whatever ``min_side`` is.
    """
    try:
        with Image.open(path) as image:
            check_pixels(path, image.width * image.height, max_pixels)
            if min_side is not None:
                # draft() keeps both sides at least as long as those of the box.
                image.draft(None, (min_side, min_side))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            shown = _shown(image)
        del image  # its pixels are not needed while the others are converted
        return shown.convert("RGB")
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(
            f"The image {path} does not exist: check the data set's folder with "
            "`python -m amif_lightning audit`."
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"The image {path} is too large for Pillow ({first_line(error)}): reduce it."
        ) from error
    except Exception as error:  # Pillow's readers raise errors of any type on damaged files
        raise UserError(
            f"The image {path} is damaged or truncated ({first_line(error)}): copy or download it "
            "again."
        ) from error


def check_pixels(path: object, pixels: int, max_pixels: int) -> None:
    """Raise a UserError for an image with more than ``max_pixels`` pixels."""
    if pixels > max_pixels:
        raise UserError(
            f"The image {path} has {pixels} pixels, more than the {max_pixels} that "
            "max_image_pixels allows: reduce the image, or raise this option of the data set."
        )
