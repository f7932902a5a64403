"""Images from users: PNG and JPEG of any depth, DICOM, and folders of these."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from PIL import Image, ImageOps

from amif_lightning.data.preprocessing.images import decode_image, to_rgb
from amif_lightning.errors import UserError, first_line

_DICOM = frozenset({".dcm", ".dicom"})
_SUFFIXES = _DICOM | {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"}
_DICOMDIR = "DICOMDIR"  # the table of contents of a disc: DICOM without an image
_PREAMBLE = 128  # bytes before the letters DICM


def read_image(
    image: Image.Image | str | PathLike[str], min_side: int, frame: int | None = None
) -> Image.Image:
    """Read an image, or the file at a path, as 8-bit RGB, decoded like the images of a data set.

    Large JPEGs are decoded at reduced size with at least ``min_side`` pixels on the shorter side.
    ``frame`` counts the frames of a DICOM file from 0.

    Raises:
        UserError: If the file is missing or damaged, or a frame is missing or does not apply.
    """
    if isinstance(image, Image.Image):
        try:
            return to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # opened, but not read yet: of any type, as in decode_image
            raise UserError(
                f"The image cannot be read ({first_line(error)}): give another."
            ) from error
    path = Path(image)
    if not os.path.exists(path):
        raise UserError(
            f"The image {path} does not exist, or its folder cannot be read: check the path."
        )
    if is_dicom(path):
        from amif_lightning.data.preprocessing.dicom import read_dicom  # pydicom is an extra

        return read_dicom(path, frame)
    if frame is not None:
        raise UserError(f"{path} is not a DICOM file, so it has no frames: leave the frame out.")
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder: give one image.")
    return decode_image(path, min_side)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its suffix or its first bytes."""
    if path.suffix.lower() in _DICOM:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False  # the decoder reports the error


def images_in(folder: Path) -> tuple[list[Path], int]:
    """Return the sorted images below a folder, and the number of other files.

    DICOM files without a suffix are recognised by their first bytes.
    """
    files = sorted(path for path in folder.rglob("*") if os.path.isfile(path))
    found = [
        path
        for path in files
        if path.suffix.lower() in _SUFFIXES or (path.name != _DICOMDIR and is_dicom(path))
    ]
    return found, len(files) - len(found)
