"""Make reduced copies of large images, which decode faster.

Each copy's JPEG comment holds its size, its quality and the state of its source image. Interrupted
calls resume from it, and changed images are reduced again.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from amif_lightning.data.files.atomic import replacing
from amif_lightning.data.files.names import under
from amif_lightning.data.preprocessing.images import MAX_PIXELS, decode_image
from amif_lightning.errors import UserError

_MARK = "amif-resized"
_OPENED = 1000  # copies opened before a run


@dataclass(frozen=True)
class Resized:
    """Numbers of new and existing copies, and unreadable images."""

    made: int
    kept: int
    failed: dict[str, str]  # a sentence by image


def resized_path(folder: Path, image_id: str) -> Path:
    """Return the copy of the image ``<data set>/<path in the release>``: a .jpg or .jpeg file."""
    path = under(folder, image_id)
    return path if path.suffix.lower() in (".jpg", ".jpeg") else path.with_name(f"{path.name}.jpg")


def check_options(short_side: int, quality: int, workers: int) -> None:
    """Raise a UserError for a number that :func:`resize_all` does not take."""
    if short_side < 1 or not 1 <= quality <= 95 or workers < 0:
        raise UserError(
            f"--resize is {short_side}, --quality {quality} and --workers {workers}: give a short "
            "side of at least 1, a quality from 1 to 95 and at least 0 workers."
        )


def resize_all(
    images: Mapping[str, Path],
    folder: Path,
    *,
    short_side: int,
    quality: int = 90,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> Resized:
    """Make reduced copies of images, given by ``<data set>/<path in the release>``, in parallel.

    ``short_side`` is in pixels; smaller images are not enlarged. ``quality`` is 1 to 95. Larger
    images than ``max_pixels`` fail. With 0
    ``workers`` this process makes the copies.

    Raises:
        UserError: If a number is out of range or a copy cannot be written.
    """
    check_options(short_side, quality, workers)
    one = partial(
        _resize, folder=folder, short_side=short_side, quality=quality, max_pixels=max_pixels
    )
    with contextlib.ExitStack() as stack:
        results: Iterable[bool | str] = map(one, images.items())
        if workers:
            # Spawned: a forked copy of a process that has started threads may hang.
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
            results = stack.enter_context(pool).map(one, images.items(), chunksize=16)
        bar = tqdm(results, total=len(images), desc="reduced copies", unit="image", disable=None)
        found = dict(zip(images, bar, strict=True))
    failed = {name: result for name, result in found.items() if isinstance(result, str)}
    made = sum(result is True for result in found.values())
    return Resized(made, len(found) - made - len(failed), failed)


def _resize(
    item: tuple[str, Path], folder: Path, short_side: int, quality: int, max_pixels: int
) -> bool | str:
    """True if made, False if kept, or a sentence about the failure."""
    name, file = item
    target = resized_path(folder, name)
    try:
        state = file.stat()
    except OSError:
        return str(UserError(f"The image {file} does not exist."))
    comment = f"{_MARK} {short_side} {quality} {state.st_size} {state.st_mtime_ns}"
    if _comment(target) == comment:
        return False
    try:
        image = decode_image(file, short_side, max_pixels)
    except UserError as error:
        return str(error)
    scale = short_side / min(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if len({band.tobytes() for band in image.split()}) == 1:
        image = image.convert("L")  # grey: one channel to decode instead of three
    jpeg = io.BytesIO()  # to a full disk Pillow may write a part of a file without an error
    image.save(jpeg, "JPEG", quality=quality, comment=comment.encode())
    with replacing(target, "make room or choose another --data.resized", sync=False) as temporary:
        temporary.write_bytes(jpeg.getbuffer())
    return True


def _comment(path: Path) -> str:
    """The JPEG comment of a copy; empty if unreadable."""
    try:
        with Image.open(path) as image:
            found = image.info.get("comment", b"")
    except Exception:  # Pillow's readers raise errors of any type on damaged files
        return ""
    return found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)


def check_copies(folder: Path, image_ids: Iterable[str], needed: int, data: str) -> None:
    """Raise a UserError with the command that makes copies if some are missing or too small.

    A copy's shorter side must have ``needed`` pixels unless the released image has fewer. A
    thousand evenly spaced copies are read: an interrupted call leaves a contiguous gap, and opening
    all copies of a large set takes minutes.
    """
    command = (
        f"`python -m amif_lightning prepare data --data {data} --data.resized {folder} "
        f"--resize {needed} ...`"
    )
    paths = [resized_path(folder, image_id) for image_id in dict.fromkeys(image_ids)]
    for path in paths:
        if not path.is_file():
            raise UserError(f"The folder of reduced copies has no {path}: run {command}.")
    for path in paths[:: -(-len(paths) // _OPENED) or 1]:
        words = _comment(path).split()
        if len(words) != 5 or words[0] != _MARK or not words[1].isdigit():
            raise UserError(f"{path} is not a reduced copy made by this suite: run {command}.")
        if int(words[1]) < needed:
            raise UserError(
                f"The reduced copies in {folder} have a short side of {words[1]} pixels and this "
                f"run needs {needed}: run {command}."
            )
