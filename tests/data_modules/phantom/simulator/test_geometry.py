from __future__ import annotations

import numpy as np
import pytest

from data_modules.phantom.simulator.geometry import (
    FIELD_OF_VIEW,
    IMAGE_SIZE,
    PIXEL,
    VIEWS,
    Array,
    Ellipsoid,
    Span,
    View,
    bounding_box,
    chord,
    plane_coordinates,
    row_height,
    union_length,
)

TILTED = Ellipsoid((14.0, -9.0, 22.0), (41.0, 28.0, 63.0), (27.0, -18.0))
PLAIN = Ellipsoid((-20.0, 12.0, -30.0), (30.0, 50.0, 40.0))


def turned(body: Ellipsoid) -> Array:
    """The rotation matrix, written out from the angles once more."""
    y, x = np.radians(body.tilt)
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), np.sin(x)], [0, -np.sin(x), np.cos(x)]])
    return np.asarray(about_x @ about_y, dtype=np.float64)


def inside(body: Ellipsoid, points: Array) -> Array:
    """Membership of points (..., 3): undo the rotation, scale, compare with the unit sphere."""
    local = (points - np.asarray(body.centre)) @ turned(body)
    return np.asarray(((local / np.asarray(body.axes)) ** 2).sum(-1) <= 1.0, dtype=np.float64)


def ray_points(view: View, row: int, column: int, samples: Array) -> Array:
    """Points of one ray in the patient's coordinates, straight from the documented convention."""
    half = FIELD_OF_VIEW / 2
    across = (column + 0.5) * PIXEL - half
    z = half - (row + 0.5) * PIXEL
    points = np.empty((len(samples), 3))
    points[:, 2] = z
    if view == "frontal":  # the patient's left (x > 0) is on the image's right
        points[:, 0], points[:, 1] = across, samples
    else:  # the patient faces the image's left
        points[:, 0], points[:, 1] = samples, -across
    return points


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("body", [TILTED, PLAIN])
def test_chord_equals_numeric_integration(body: Ellipsoid, view: View) -> None:
    step = 0.02
    samples = np.arange(-160, 160, step) + step / 2
    lengths = chord(body, view).length
    for row, column in np.random.default_rng(0).integers(10, 102, (60, 2)):
        numeric = inside(body, ray_points(view, int(row), int(column), samples)).sum() * step
        assert lengths[row, column] == pytest.approx(numeric, abs=2 * step)
    assert lengths.max() > 40


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("body", [TILTED, PLAIN])
def test_chords_add_up_to_the_volume(body: Ellipsoid, view: View) -> None:
    volume = chord(body, view).length.sum() * PIXEL**2
    assert volume == pytest.approx(4 / 3 * np.pi * np.prod(body.axes), rel=0.01)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("body", [TILTED, PLAIN])
def test_box_holds_the_whole_shadow_and_no_more_than_a_margin(body: Ellipsoid, view: View) -> None:
    box = bounding_box(body, view)
    whole = chord(body, view).length
    part = chord(body, view, box).length
    assert np.array_equal(whole[box.slices], part)
    outside = whole.copy()
    outside[box.slices] = 0.0
    assert outside.max() == 0.0
    rows = np.flatnonzero(whole.any(axis=1))
    assert box.bottom - box.top <= len(rows) + 3


def test_left_is_on_the_right_of_a_frontal_image_and_up_is_up() -> None:
    row, column = plane_coordinates((50.0, 30.0, 70.0), "frontal")
    assert row < IMAGE_SIZE / 2 < column
    assert row_height(row) == pytest.approx(70.0)
    same_row, front = plane_coordinates((50.0, 30.0, 70.0), "lateral")
    assert same_row == row
    assert front < IMAGE_SIZE / 2


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_union_of_intervals_equals_counting_fine_cells(count: int) -> None:
    rng = np.random.default_rng(count)
    ends = np.sort(rng.integers(0, 60, (2, count, 6, 7)), axis=0).astype(np.float64)
    parts = [Span(ends[0, i], ends[1, i]) for i in range(count)]
    cells = np.arange(60)[:, None, None]
    covered = np.zeros((60, 6, 7), dtype=bool)
    for part in parts:
        covered |= (cells >= part.near) & (cells < part.far)
    assert np.array_equal(union_length(parts), covered.sum(axis=0))


def test_clearance_is_the_distance_for_a_sphere() -> None:
    sphere = Ellipsoid((1.0, 2.0, 3.0), (10.0, 10.0, 10.0))
    assert sphere.clearance((1.0, 2.0, 18.0)) == pytest.approx(5.0)
    assert sphere.clearance((1.0, 2.0, 3.0)) == pytest.approx(-10.0)
