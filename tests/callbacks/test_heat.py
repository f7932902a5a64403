"""Heat maps: hot where the number is, over the right place of the image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from amif_lightning.callbacks.heat import enlarged, heat_map, heat_scale, outlined

EVEN = (np.arange(4) + 0.5) / 4


@pytest.mark.parametrize("centres", [EVEN, np.array([0.0, 0.3, 0.6, 0.9])])
def test_enlarging_is_bilinear(centres: np.ndarray) -> None:
    grid = np.random.default_rng(0).random((4, 4))
    side = 21
    heat = enlarged(grid, centres, side)
    for row in range(side):
        for column in range(side):
            weights = []
            for place in ((row + 0.5) / side, (column + 0.5) / side):
                at = min(max(place, centres[0]), centres[-1])
                after = int(np.searchsorted(centres, at, side="left").clip(1, 3))
                share = (at - centres[after - 1]) / (centres[after] - centres[after - 1])
                weights.append(((after - 1, 1 - share), (after, share)))
            expected = sum(a * b * grid[i, j] for i, a in weights[0] for j, b in weights[1])
            assert heat[row, column] == pytest.approx(expected)


def test_one_patch_covers_everything() -> None:
    assert (enlarged(np.array([[0.3]]), np.array([0.5]), 5) == 0.3).all()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 1)])
def test_the_hot_spot_is_where_the_mass_is(row: int, column: int) -> None:
    mass = np.zeros((4, 4))
    mass[row, column] = 1.0
    image = Image.new("RGB", (200, 200), (60, 60, 60))
    pixels = np.asarray(heat_map(image, mass, EVEN, 1.0)).astype(int)
    changed = np.abs(pixels - 60).sum(-1)
    hottest = np.argwhere(changed == changed.max())
    assert np.abs(hottest - (50 * row + 25, 50 * column + 25)).max() <= 25
    far = [(r, c) for r in range(4) for c in range(4) if max(abs(r - row), abs(c - column)) > 1]
    assert far
    for r, c in far:  # the image itself where nothing is sent
        assert (pixels[50 * r + 20 : 50 * r + 30, 50 * c + 20 : 50 * c + 30] == 60).all()
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_map_has_one_scale_whatever_it_shows() -> None:
    image = Image.new("RGB", (40, 40))
    half, again, full = (
        np.asarray(heat_map(image, np.full((4, 4), number), EVEN, hottest))
        for number, hottest in ((0.5, 1.0), (0.25, 0.5), (0.5, 0.5))
    )
    assert np.array_equal(half, again)
    assert not np.array_equal(half, full)


def test_the_scale_goes_from_hot_to_the_bare_image() -> None:
    scale = heat_scale(100).astype(int)
    assert (scale[-1] == 96).all()
    assert scale[0].sum() > 500
    assert len(np.unique(scale, axis=0)) > 50


def test_an_outline_surrounds_the_region_and_nothing_else() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[2:5, 6:10] = True  # up to the image's edge
    pixels = np.asarray(outlined(Image.new("RGB", (40, 40)), mask))
    drawn = (pixels == (0, 255, 255)).all(-1)
    large = mask.repeat(4, 0).repeat(4, 1)
    assert not drawn[~large].any()
    assert drawn[8, 24:40].all()
    assert drawn[8:20, 39].all()
    assert not drawn[9:19, 25:39].any()
