"""Run a teacher over a data set, in parts that survive an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from amif_lightning.data.files.atomic import replacing
from amif_lightning.data.preprocessing.images import MAX_PIXELS, decode_image
from amif_lightning.data.teacher.store import OTHER_CACHE, not_unit
from amif_lightning.errors import UserError

if TYPE_CHECKING:  # its libraries are slow to import
    from amif_lightning.data.teacher.networks import FrozenTeacher

# A part always consists of the same batches: a matrix product's last bits depend on the batch, and
# a resumed file must equal an uninterrupted one bit by bit.
BATCH, PART = 64, 256
Batch = TypeVar("Batch")


def compute(
    teacher: FrozenTeacher,
    images: Mapping[str, Path],
    texts: Mapping[str, str],
    folder: Path,
    num_workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    texts_of: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute a teacher's features of N images (N, T) and M texts (M, T), float32.

    ``folder`` holds finished parts of this teacher and data only. For a teacher that does not read
    images, ``texts_of`` names the texts of each image; its features are their mean.

    Raises:
        UserError: If an image is missing or damaged, or the teacher returns a non-finite vector or
            vectors of two widths.
    """
    words = list(texts.values())
    if cut := teacher.cut(words):
        print(
            f"The teacher's limit is {teacher.max_tokens} tokens: {cut} of {len(words)} texts are "
            "cut."
        )

    def decoded(batches: list[list[int]]) -> Iterable[Tensor]:
        pixels = _Images(list(images.values()), teacher.prepare, max_pixels)
        # A separate generator keeps the run's random numbers independent of this computation.
        return DataLoader(
            pixels,
            batch_sampler=batches,
            num_workers=num_workers if batches else 0,
            generator=torch.Generator(),
        )

    def looked_up(batches: list[list[int]]) -> Iterable[list[str]]:
        return ([words[row] for row in batch] for batch in batches)

    total = len(texts) + (len(images) if teacher.reads_images else 0)
    with tqdm(total=total, desc="teacher", unit="sample") as bar:
        # Texts first: they are fast, and reveal a teacher of two widths before all images run.
        text = _features(folder, "text", list(texts), looked_up, teacher.text, bar)
        if not teacher.reads_images:
            assert texts_of is not None
            place = {name: row for row, name in enumerate(texts)}
            means = [text[[place[name] for name in texts_of[image]]].mean(0) for image in images]
            return F.normalize(torch.stack(means), dim=1), text
        image = _features(folder, "image", list(images), decoded, teacher.image, bar, text.shape[1])
    return image, text


class _Images(Dataset[Tensor]):
    """Decoded images as the teacher's input; workers receive only its transform."""

    def __init__(
        self, paths: Sequence[Path], prepare: Callable[[Image.Image], Tensor], max_pixels: int
    ) -> None:
        self.paths, self.prepare, self.max_pixels = paths, prepare, max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        # At full size: JPEGs decoded at reduced size, even at twice the teacher's side, change soft
        # labels by more than 1e-3.
        return self.prepare(decode_image(self.paths[row], max_pixels=self.max_pixels))


def _features(
    folder: Path,
    kind: str,
    ids: Sequence[str],
    load: Callable[[list[list[int]]], Iterable[Batch]],
    embed: Callable[[Batch], Tensor],
    bar: tqdm,
    width: int | None = None,
) -> Tensor:
    """Rows (N, T) of all ids, from existing parts where possible; T is ``width`` if given."""
    stops = {start: min(start + PART, len(ids)) for start in range(0, len(ids), PART)}
    files = {start: folder / f"{kind}-{start:09d}.npy" for start in stops}
    kept = {start: _read(files[start], stop - start) for start, stop in stops.items()}
    bar.update(sum(len(rows) for rows in kept.values() if rows is not None))
    batches = [
        list(range(first, min(first + BATCH, stop)))
        for start, stop in stops.items()
        if kept[start] is None
        for first in range(start, stop, BATCH)
    ]
    done: list[np.ndarray] = []
    for rows, batch in zip(batches, load(batches), strict=True):
        values = embed(batch).float().cpu()
        if width is not None and values.shape[1] != width:
            raise UserError(
                f"The teacher returns images of width {values.shape[1]} and texts of width "
                f"{width}: give a teacher with one width as --data.init_args.teacher_source."
            )
        if wrong := not_unit(values, [ids[row] for row in rows]):
            raise UserError(
                f"The teacher returned a vector that is {wrong}, so its weights are damaged: copy "
                "or download them again."
            )
        done.append(values.numpy())
        bar.update(len(rows))
        start = rows[0] - rows[0] % PART
        if rows[-1] + 1 == stops[start]:
            part, done = np.concatenate(done), []
            with replacing(files[start], OTHER_CACHE) as file, file.open("wb") as stream:
                np.save(stream, part, allow_pickle=False)  # given a name, it would add an ending
            kept[start] = part
    return torch.from_numpy(np.concatenate([part for part in kept.values() if part is not None]))


def _read(file: Path, rows: int) -> np.ndarray | None:
    """A part of that many rows; None if missing or incomplete."""
    try:
        part: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return part if part.dtype == np.float32 and part.ndim == 2 and len(part) == rows else None
