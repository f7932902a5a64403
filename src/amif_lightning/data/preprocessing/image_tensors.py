"""Decoded images as square tensors, optionally kept in shared memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.errors import UserError


def to_square(image: Image.Image, size: int) -> Tensor:
    """Resize the whole image to (3, size, size) uint8, without keeping the aspect ratio."""
    resized = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def read_square(path: Path, size: int) -> Tensor:
    """Decode a file to (3, size, size) uint8."""
    return to_square(decode_image(path, size), size)


class DecodedImages:
    """Images decoded once into memory shared by all loader workers.

    N x 3 x size x size bytes are reserved for N files and filled at the first access to each image.
    Two workers may decode the same image; both write the same bytes.

    Raises:
        UserError: If shared memory is too small.
    """

    def __init__(self, files: Iterable[Path], size: int) -> None:
        self._size = size
        self._rows = {path: row for row, path in enumerate(dict.fromkeys(files))}
        count = len(self._rows)
        try:
            self._pixels = torch.zeros((count, 3, size, size), dtype=torch.uint8).share_memory_()
            self._filled = torch.zeros(count, dtype=torch.bool).share_memory_()
        except (RuntimeError, MemoryError) as error:
            raise UserError(
                f"cache_images needs {count * 3 * size * size / 2**30:.1f} GiB of shared memory "
                f"for {count} images of {size} pixels, more than this machine has: set "
                "--data.init_args.cache_images false."
            ) from error

    def get(self, path: Path) -> Tensor:
        """Return an image as (3, size, size) uint8, decoded at the first call."""
        row = self._rows[path]
        if not self._filled[row]:
            self._pixels[row] = read_square(path, self._size)
            self._filled[row] = True
        return self._pixels[row]
