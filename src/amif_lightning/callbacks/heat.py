"""Heat maps: numbers of a grid of patches drawn over the image that the patches are of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amif_lightning.callbacks.drawing import Array, Pixels, coloured

# A cold place shows the image alone; a hot one hides most of it.
_OPAQUE = 0.8
# The ramp begins almost black, which on a radiograph would look like lung.
_COLDEST = 0.25


def enlarged(grid: Array, centres: Array, side: int) -> Array:
    """A grid of patches at every pixel, bilinear between centres and even beyond the outer ones.

    Args:
        grid: (g, g) numbers.
        centres: (g,) see :func:`amif_lightning.models.patch_grid.patch_centres`.
        side: Pixels of the result.

    Returns:
        (side, side) numbers between the least and the greatest of the grid.
    """
    at = (np.arange(side) + 0.5) / side
    weights = np.stack([np.interp(at, centres, unit) for unit in np.eye(len(centres))], axis=1)
    heat: Array = weights @ grid @ weights.T
    return heat


def heat_map(image: Image.Image, grid: Array, centres: Array, hottest: float) -> Image.Image:
    """An image under the colours of a grid; 0 leaves it as it is.

    Args:
        image: A square image.
        grid: (g, g) numbers of at least 0.
        centres: (g,) see :func:`amif_lightning.models.patch_grid.patch_centres`.
        hottest: The number that gets the lightest colour.
    """
    heat = enlarged(grid, centres, image.width) / max(hottest, 1e-12)
    return Image.fromarray(_over(np.asarray(image, dtype=np.float64), heat))


def heat_scale(height: int) -> Pixels:
    """(height, 3) colours of a heat map over middle grey, the hottest first."""
    heat = np.linspace(1.0, 0.0, height)
    return _over(np.full((height, 3), 96.0), heat)


def outlined(image: Image.Image, mask: NDArray[np.bool_]) -> Image.Image:
    """An image with the edge of a region drawn on it.

    Args:
        image: A square image.
        mask: (H, W) the region, of any size.
    """
    region = Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST)
    inside = np.pad(np.asarray(region), 1)
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    pixels = np.array(image)
    pixels[inside[1:-1, 1:-1] & ~core] = (0, 255, 255)
    return Image.fromarray(pixels)


def _over(below: Array, heat: Array) -> Pixels:
    """Colours of heat (...) over pixels (..., 3)."""
    heat = np.clip(heat, 0.0, 1.0)
    # Rises fast at first, so that a low number is seen as well, and without an edge at 0.
    opaque = _OPAQUE * (heat * (2 - heat))[..., None]
    mixed = (1 - opaque) * below + opaque * coloured(_COLDEST + (1 - _COLDEST) * heat)
    pixels: Pixels = mixed.round().astype(np.uint8)
    return pixels
