"""Images embedded in the page: copies of the data's images, and the last images of a run."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from amif_lightning.data.files.names import inside
from amif_lightning.errors import UserError
from amif_lightning.reports.render.tables import data_options

SIDE = 224
QUALITY = 85


class NoImage(Exception):
    """The reason for a missing image: ``not found`` or ``not readable``."""


def data_root(config: Mapping[str, Any]) -> Path | None:
    """Return the data set's folder as configured; None without a single one, as for a mixture.

    A relative folder is found only if ``report`` is called where the run was started.
    """
    root = data_options(config).get("root")
    return Path(root) if isinstance(root, str) and root else None


def data_uri(root: Path, name: str) -> str:
    """Return an image as a JPEG with sides of at most `SIDE` pixels, as a ``data:`` address.

    ``name`` is the path below ``root``, with forward slashes.

    Raises:
        NoImage: If the file is missing, or Pillow cannot read it.
    """
    from amif_lightning.data.preprocessing.images import decode_image  # its libraries are heavy

    # The path comes from a prediction file and must not leave the data folder.
    if inside(name) is None or not os.path.isfile(root / name):
        raise NoImage("not found")
    try:
        small = decode_image(root / name, SIDE)
    except UserError as error:
        raise NoImage("not readable") from error
    small.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return _uri("jpeg", stream.getvalue())


#: The images of a run that the page shows, by their tag in TensorBoard.
TITLES = {
    "transport/plans": "Where words are transported; a line marks the finding that the word names",
    "negatives/hardest": "The hardest of the texts that images drew as negatives",
}


class Sheet(NamedTuple):
    """An image of one seed of a configuration, as a ``data:`` address."""

    name: str
    seed: int
    title: str
    image: str


def sheets(runs: Iterable[tuple[str, int, Path]]) -> list[Sheet]:
    """Find the images of the last validation of runs (configuration, seed, run folder)."""
    return [
        Sheet(name, seed, TITLES[tag], _uri("png", image))
        for name, seed, folder in runs
        for tag, image in _last_images(folder).items()
    ]


def _last_images(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.glob("events.out.tfevents.*"))  # the name starts with the time
    if not files:
        return {}
    from tensorboard.backend.event_processing import event_accumulator

    sizes = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 1)
    sizes[event_accumulator.IMAGES] = 0
    # The reader would warn about files that end in the middle, as those of running jobs do.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    found: dict[str, bytes] = {}
    for file in files:
        events = event_accumulator.EventAccumulator(str(file), sizes).Reload()
        for tag in TITLES:
            if tag in events.Tags()["images"]:
                found[tag] = events.Images(tag)[-1].encoded_image_string
    return found


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
