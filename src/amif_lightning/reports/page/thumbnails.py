"""Small copies of images, written into the page itself."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from amif_lightning.errors import UserError

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
    from amif_lightning.data.preprocessing.images import decode_image  # its libraries are heavy

    inner = PurePosixPath(name)
    # The path comes from a prediction file, the folder from its record: neither leaves the folder.
    if inner.is_absolute() or ".." in inner.parts:
        raise NoImage("not found")
    path = root / inner
    if not os.path.isfile(path):
        raise NoImage("not found")
    try:
        small = decode_image(path, SIDE)
    except UserError as error:
        raise NoImage("not readable") from error
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
