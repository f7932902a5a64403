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
    """Resize to ``size`` x ``size`` (the whole image, aspect not kept), (3, size, size) uint8."""
    resized = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def read_square(path: Path, size: int) -> Tensor:
    """Decode a file as a (3, size, size) uint8 square."""
    return to_square(decode_image(path, size), size)


class DecodedImages:
    """Images decoded once into memory shared by all loader workers.

    N x 3 x size x size bytes are reserved and filled at the first access to each image. Two workers
    may decode the same image; both write the same bytes.

    Args:
        files: The N image files.
        size: Side of the stored squares in pixels.

    Raises:
        UserError: If the machine's shared memory cannot hold them.
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
        """Return the image as a (3, size, size) uint8 square, decoded at the first call."""
        row = self._rows[path]
        if not self._filled[row]:
            self._pixels[row] = read_square(path, self._size)
            self._filled[row] = True
        return self._pixels[row]
