"""Run a teacher over a data set in parts that survive an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from amif_lightning.data.files.atomic import replacing
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.teacher.store import NORM_TOLERANCE, OTHER_CACHE
from amif_lightning.errors import UserError

# A part always consists of the same batches: a matrix product's last bits depend on the batch, and
# a resumed file shall equal an uninterrupted one byte for byte.
BATCH, PART = 64, 256
Batch = TypeVar("Batch")


class Teacher(Protocol):
    """What is asked of a teacher; :mod:`amif_lightning.data.teacher.networks` has two."""

    scale: float
    image_size: int
    max_tokens: int
    prepare: Callable[[Image.Image], Tensor]

    def image(self, pixels: Tensor) -> Tensor:
        """Unit rows (B, T) of prepared images (B, 3, H, W)."""

    def text(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (B, T) of texts."""

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts are longer than ``max_tokens``."""


def compute(
    teacher: Teacher,
    images: Mapping[str, Path],
    texts: Mapping[str, str],
    folder: Path,
    num_workers: int = 2,
    progress: bool = True,
) -> tuple[Tensor, Tensor]:
    """A teacher's features of all images and texts, in the order of the mappings.

    Args:
        teacher: The teacher.
        images: N files by id.
        texts: M texts by id.
        folder: Where finished parts are kept and looked for. It must belong to this teacher and
            this data.
        num_workers: Processes that decode images.
        progress: Whether to show a progress bar.

    Returns:
        (N, T) and (M, T), float32.

    Raises:
        UserError: If an image is missing or damaged, or the teacher gives a vector that is not
            finite, or vectors of two widths.
    """
    cut = teacher.cut(list(texts.values()))
    if cut:
        print(
            f"The teacher reads {teacher.max_tokens} tokens: {cut} of {len(texts)} texts are cut."
        )
    pixels, words = _Images(list(images.values()), teacher), list(texts.values())

    def decoded(batches: list[list[int]]) -> Iterable[Tensor]:
        # A generator of its own: a run's random numbers must not depend on what was made before it.
        return DataLoader(
            pixels,
            batch_sampler=batches,
            num_workers=num_workers if batches else 0,
            generator=torch.Generator(),
        )

    def looked_up(batches: list[list[int]]) -> Iterable[list[str]]:
        return ([words[row] for row in batch] for batch in batches)

    with tqdm(
        total=len(images) + len(texts), desc="teacher", unit="sample", disable=not progress
    ) as bar:
        # The texts first: they take less time, and a teacher of two widths is found by then.
        text = _features(folder, "text", list(texts), looked_up, teacher.text, bar)
        image = _features(folder, "image", list(images), decoded, teacher.image, bar, text.shape[1])
    return image, text


def finished(folder: Path) -> None:
    """Delete the parts: the file made of them is written."""
    shutil.rmtree(folder, ignore_errors=True)


class _Images(Dataset[Tensor]):
    """Decoded images as the teacher expects them; only its transform goes into the workers."""

    def __init__(self, paths: Sequence[Path], teacher: Teacher) -> None:
        self.paths = paths
        self.prepare: Callable[[Image.Image], Tensor] = teacher.prepare

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        # Whole, though JPEGs decode faster at reduced size: even at twice the teacher's side that
        # moves soft labels by more than 1e-3.
        return self.prepare(decode_image(self.paths[row]))


def _features(
    folder: Path,
    kind: str,
    ids: Sequence[str],
    load: Callable[[list[list[int]]], Iterable[Batch]],
    embed: Callable[[Batch], Tensor],
    bar: tqdm,
    width: int | None = None,
) -> Tensor:
    """Rows (N, T) of all ids, from parts on disk where they are there; T is ``width`` if given."""
    starts = range(0, len(ids), PART)
    files = {start: folder / f"{kind}-{start:09d}.npy" for start in starts}
    kept = {start: _read(file, min(PART, len(ids) - start)) for start, file in files.items()}
    bar.update(sum(len(rows) for rows in kept.values() if rows is not None))
    batches = [
        list(range(first, min(first + BATCH, start + PART, len(ids))))
        for start in starts
        if kept[start] is None
        for first in range(start, min(start + PART, len(ids)), BATCH)
    ]
    done: list[np.ndarray] = []
    for rows, batch in zip(batches, load(batches), strict=True):
        values = embed(batch).float().cpu()
        if width is not None and values.shape[1] != width:
            raise UserError(
                f"The teacher gives images of width {values.shape[1]} and texts of width "
                f"{width}, not of one space: give another teacher as "
                "--data.init_args.teacher_source."
            )
        _check_rows(values, [ids[row] for row in rows])
        done.append(values.numpy())
        bar.update(len(rows))
        start = rows[0] - rows[0] % PART
        if rows[-1] + 1 == min(start + PART, len(ids)):
            part = np.concatenate(done)
            with replacing(files[start], OTHER_CACHE) as file, file.open("wb") as stream:
                np.save(stream, part, allow_pickle=False)  # by its name it would add an ending
            kept[start], done = part, []
    return torch.from_numpy(np.concatenate([part for part in kept.values() if part is not None]))


def _check_rows(values: Tensor, ids: Sequence[str]) -> None:
    # Written so that a norm which is not a number is wrong too.
    wrong = ~((values.norm(dim=1) - 1).abs() <= NORM_TOLERANCE)
    if wrong.any():
        raise UserError(
            f"The teacher gives no finite vector of unit norm for {ids[int(wrong.nonzero()[0])]}: "
            "its weights are damaged; copy or download them again."
        )


def _read(file: Path, rows: int) -> np.ndarray | None:
    """A part of so many rows, None where it is not there or not whole."""
    try:
        part: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return part if part.dtype == np.float32 and part.ndim == 2 and len(part) == rows else None
