"""Patches lie where the tower looks, and coverage is counted by the nearest centre."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amif_lightning.models.patch_grid import covered, patch_centres
from amif_lightning.models.vision import ConvTower

EVEN = (np.arange(4) + 0.5) / 4


class Grid:
    """A tower of which only the grid is asked."""

    def grid(self, image_size: int) -> tuple[int, int]:
        assert image_size == 112
        return 4, 4


def test_patches_of_a_transformer_lie_in_the_middle_of_their_squares() -> None:
    assert patch_centres(Grid(), 112).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_patches_of_the_small_net_lie_where_it_looks() -> None:
    size = 480  # larger than what one patch sees
    tower = ConvTower(size).eval()
    centres = patch_centres(tower, size)
    images = torch.rand(1, 3, size, size).requires_grad_()
    middle = len(centres) // 2
    tower(images)[0, 1 + middle * len(centres) + middle].sum().backward()
    assert images.grad is not None
    seen = images.grad.abs().sum((0, 1)) > 0
    for axis in (0, 1):
        places = seen.any(axis).nonzero()[:, 0].double()
        reach = (places.min() + places.max() + 1) / 2 / size  # the middle of what it sees
        assert abs(float(reach) - centres[middle]) < 8 / size
        assert abs(float(reach) - (middle + 0.5) / len(centres)) > 8 / size


@pytest.mark.parametrize("centres", [EVEN, np.array([0.5, 32.5, 64.5, 96.5]) / 112])
def test_coverage_is_counted_by_the_nearest_centre(centres: np.ndarray) -> None:
    mask = np.zeros((112, 112), dtype=bool)
    mask[20:61, 3:90] = True
    mask[100:, 100:] = True
    inside, size = np.zeros((4, 4)), np.zeros((4, 4))
    fine = 2  # borders lie on half pixels at most
    for row in range(112 * fine):
        for column in range(112 * fine):
            places = [(at + 0.5) / (112 * fine) for at in (row, column)]
            cell = tuple(int(np.abs(centres - place).argmin()) for place in places)
            size[cell] += 1
            inside[cell] += mask[row // fine, column // fine]
    assert covered(mask, centres) == pytest.approx((inside / size).ravel())
    assert covered(np.ones((112, 112), dtype=bool), centres) == pytest.approx(np.ones(16))
