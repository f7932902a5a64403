"""Decoded images as arrays and tensors."""

from __future__ import annotations

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


class DecodedImages:
    """Images decoded once into memory shared by all loader workers.

    Worth it when an epoch takes less time than decoding: N x 3 x size x size bytes are reserved and
    filled as images are first asked for. Two workers may decode one image twice; both write
    the same bytes.

    Args:
        count: Number of images N.
        size: Side of the stored squares in pixels.

    Raises:
        UserError: If the machine's shared memory cannot hold them.
    """

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        try:
            self._pixels = torch.zeros((count, 3, size, size), dtype=torch.uint8).share_memory_()
            self._filled = torch.zeros(count, dtype=torch.bool).share_memory_()
        except (RuntimeError, MemoryError) as error:
            raise UserError(
                f"cache_images needs {count * 3 * size * size / 2**30:.1f} GiB of shared memory "
                f"for {count} images of {size} pixels and this machine does not give them: set "
                "--data.init_args.cache_images false."
            ) from error

    def get(self, index: int, path: Path) -> Tensor:
        """The image as a (3, size, size) uint8 square, decoded at the first call."""
        if not self._filled[index]:
            self._pixels[index] = to_square(decode_image(path, self.size), self.size)
            self._filled[index] = True
        return self._pixels[index]
