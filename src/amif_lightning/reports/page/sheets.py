"""The last TensorBoard images of a run, written into the page itself."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: What is shown of a run, by its tag in TensorBoard.
TITLES = {
    "transport/plans": "Where words are transported; a line marks the finding that the word names",
    "negatives/hardest": "The hardest of the texts that images drew as negatives",
}


@dataclass(frozen=True)
class Sheet:
    """One image.

    Attributes:
        name: The configuration.
        seed: The run's seed.
        title: What the image shows.
        image: A ``data:`` address.
    """

    name: str
    seed: int
    title: str
    image: str


def sheets(runs: Iterable[tuple[str, int, Path]]) -> list[Sheet]:
    """The images of the last validation of some runs; none where a run has no such events.

    Args:
        runs: Configuration, seed and run folder.
    """
    found = []
    for name, seed, folder in runs:
        for tag, encoded in last_images(folder, tuple(TITLES)).items():
            image = "data:image/png;base64," + base64.b64encode(encoded).decode("ascii")
            found.append(Sheet(name, seed, TITLES[tag], image))
    return found


def last_images(folder: Path, tags: Iterable[str]) -> dict[str, bytes]:
    """The last image of each tag in the event files of a run folder, as PNG.

    Args:
        folder: The run folder.
        tags: Names of images.
    """
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
        for tag in tags:
            if tag in events.Tags()["images"]:
                found[tag] = events.Images(tag)[-1].encoded_image_string
    return found
