"""Images written into the page itself: copies of the data's, and the last images of a run."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    return _uri("jpeg", stream.getvalue())


#: What is shown of a run, by its tag in TensorBoard.
TITLES = {
    "transport/plans": "Where words are transported; a line marks the finding that the word names",
    "negatives/hardest": "The hardest of the texts that images drew as negatives",
}


@dataclass(frozen=True)
class Sheet:
    """One image of a configuration's seed: what it shows, and its ``data:`` address."""

    name: str
    seed: int
    title: str
    image: str


def sheets(runs: Iterable[tuple[str, int, Path]]) -> list[Sheet]:
    """The images of the last validation of some runs; none where a run has no such events.

    Args:
        runs: Configuration, seed and run folder.
    """
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
    # The reader would print of every file that ends in the middle, as those of running jobs do.
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
