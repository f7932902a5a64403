"""Small copies of images, written into the page itself."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Pillow is imported where an image is read only
    from PIL.Image import Image

SIDE = 224
QUALITY = 85


class NoImage(Exception):
    """Why an image is not on the page: ``not found`` or ``not readable``."""


def data_root(config: Mapping[str, Any]) -> Path | None:
    """The folder of the data set, as a record's configuration names it.

    Args:
        config: `RunRecord.config`.

    Returns:
        The folder, relative to where the run was started unless it is absolute; None where the
        configuration names none, as that of a mixture of data sets.
    """
    data = config.get("data")
    arguments = data.get("init_args", data) if isinstance(data, Mapping) else None
    root = arguments.get("root") if isinstance(arguments, Mapping) else None
    return Path(root) if isinstance(root, str) and root else None


def data_uri(root: Path, name: str) -> str:
    """An image as a JPEG of at most `SIDE` pixels a side, as a ``data:`` address.

    Args:
        root: Folder of the data set.
        name: Path below it, with forward slashes.

    Raises:
        NoImage: If the file is not there, or is no image that Pillow reads.
    """
    from PIL import Image, ImageOps

    inner = PurePosixPath(name)
    # The path comes from a prediction file, the folder from its record: neither leaves the folder.
    if inner.is_absolute() or ".." in inner.parts:
        raise NoImage("not found")
    path = root / inner
    if not os.path.isfile(path):
        raise NoImage("not found")
    stream = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.draft(None, (SIDE, SIDE))  # large JPEGs are decoded small, others as they are
            image.load()
            small = _eight_bits(ImageOps.exif_transpose(image))
            small.thumbnail((SIDE, SIDE))
            small.save(stream, "JPEG", quality=QUALITY)
    # What Pillow's readers raise on damaged files, depending on where the damage is.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        OverflowError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise NoImage("not readable") from error
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _eight_bits(image: Image) -> Image:
    """Grey or RGB of 8 bits; deep grey values are stretched from the darkest to the brightest."""
    if not image.mode.startswith(("I", "F")):
        return image if image.mode == "L" else image.convert("RGB")
    deep = image.convert("F")
    low, high = (float(value) for value in deep.getextrema())  # type: ignore[arg-type]  # one band
    if not low < high:  # even, or not finite
        return deep.point(lambda value: value * 0.0).convert("L")
    factor = 255.0 / (high - low)
    return deep.point(lambda value: value * factor + (-low * factor)).convert("L")
