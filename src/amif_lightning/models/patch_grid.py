"""Where an image tower's patches lie on the image, and how much of each a region covers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amif_lightning.models.vision import ConvTower

Array = NDArray[np.float64]


def patch_centres(vision: Any, image_size: int) -> Array:
    """Where the rows (and columns) of an image tower's patches lie.

    Args:
        vision: The image tower.
        image_size: Side of its input in pixels.

    Returns:
        (g,) centres as shares of the image's side, rising.
    """
    count = vision.grid(image_size)[0]
    if isinstance(vision, ConvTower):  # row r stands over pixel (stride r), see its docstring
        return (np.arange(count) * vision.stride + 0.5) / image_size
    return (np.arange(count) + 0.5) / count


def covered(mask: NDArray[np.bool_], centres: Array) -> Array:
    """How much of each patch's part of the image a region covers.

    A patch's part is what is nearer to its centre than to the others'.

    Args:
        mask: (H, W) the region.
        centres: (g,) see :func:`patch_centres`.

    Returns:
        (g * g,) shares from 0 to 1, row by row; a pixel on a border counts by its parts.
    """
    borders = np.concatenate([[0.0], (centres[1:] + centres[:-1]) / 2, [1.0]])
    down, across = (_overlap(borders, size) for size in mask.shape)
    shares: Array = down @ mask.astype(np.float64) @ across.T
    return shares.ravel()


def _overlap(borders: Array, pixels: int) -> Array:
    """(g, pixels) share of each interval between borders that each pixel takes."""
    low, high = borders[:-1, None], borders[1:, None]
    edges = np.arange(pixels + 1) / pixels
    shared = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
    return np.clip(shared, 0.0, None) / (high - low)
