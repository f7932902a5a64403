"""Ellipsoids and the exact intervals that they cut out of parallel rays.

Coordinates are the patient's, in mm: x to the patient's left, y to the front, z up. A frontal ray
runs along y and a lateral ray along x. On a frontal image the patient's left is on the image's
right; on a lateral image the patient faces the image's left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, cos, floor, radians, sin, sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
View = Literal["frontal", "lateral"]
Point = tuple[float, float, float]

VIEWS: tuple[View, ...] = get_args(View)
IMAGE_SIZE = 112  # pixels: enough for the findings, and quick to draw and to train on
FIELD_OF_VIEW = 320.0  # mm
PIXEL = FIELD_OF_VIEW / IMAGE_SIZE  # mm

_RAY_AXIS: dict[View, int] = {"frontal": 1, "lateral": 0}
_COLUMN_AXIS: dict[View, int] = {"frontal": 0, "lateral": 1}
_COLUMN_SIGN: dict[View, float] = {"frontal": 1.0, "lateral": -1.0}
_CENTRES: Array = (np.arange(IMAGE_SIZE, dtype=np.float64) + 0.5) * PIXEL - FIELD_OF_VIEW / 2


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid.

    Attributes:
        centre: Centre (x, y, z) in mm.
        axes: Half axes in mm, along x, y and z before the rotation.
        tilt: Rotations in degrees, applied one after the other: about y (a positive angle turns the
            top to the patient's left), about x (a positive angle lowers the front).
    """

    centre: Point
    axes: Point
    tilt: tuple[float, float] = (0.0, 0.0)
    quadric: Array = field(init=False, repr=False, compare=False)
    extent: Point = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out the quadratic form and the half extents along x, y and z once."""
        squares = np.square(np.asarray(self.axes, dtype=np.float64))
        if self.tilt == (0.0, 0.0):
            object.__setattr__(self, "quadric", np.diag(1.0 / squares))
            object.__setattr__(self, "extent", self.axes)
            return
        about_y, about_x = (radians(angle) for angle in self.tilt)
        turn_y = np.array(
            [[cos(about_y), 0, sin(about_y)], [0, 1, 0], [-sin(about_y), 0, cos(about_y)]]
        )
        turn_x = np.array(
            [[1, 0, 0], [0, cos(about_x), sin(about_x)], [0, -sin(about_x), cos(about_x)]]
        )
        rotation = turn_x @ turn_y
        object.__setattr__(self, "quadric", (rotation / squares) @ rotation.T)
        x, y, z = np.sqrt((rotation * rotation) @ squares).tolist()
        object.__setattr__(self, "extent", (x, y, z))

    def level(self, point: Point) -> float:
        """Return 0 at the centre, 1 on the surface, more outside."""
        offset = np.subtract(point, self.centre)
        return sqrt(float(offset @ self.quadric @ offset))

    def clearance(self, point: Point) -> float:
        """Return about how many mm a point lies outside the surface, negative inside."""
        return (self.level(point) - 1.0) * min(self.axes)


@dataclass(frozen=True)
class Box:
    """A rectangle of an image: rows and columns."""

    rows: slice
    columns: slice

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index of the rectangle in an image array."""
        return self.rows, self.columns

    def common(self, other: Box) -> Box:
        """Return the common rectangle, possibly empty."""
        return Box(_common(self.rows, other.rows), _common(self.columns, other.columns))

    def hull(self, other: Box) -> Box:
        """Return the smallest rectangle that holds both."""
        return Box(_hull(self.rows, other.rows), _hull(self.columns, other.columns))

    def within(self, outer: Box) -> tuple[slice, slice]:
        """The index of the rectangle in an array that holds only ``outer``."""
        top, left = outer.rows.start, outer.columns.start
        return (
            slice(self.rows.start - top, self.rows.stop - top),
            slice(self.columns.start - left, self.columns.stop - left),
        )


def _common(first: slice, second: slice) -> slice:
    start = max(first.start, second.start)
    return slice(start, max(start, min(first.stop, second.stop)))


def _hull(first: slice, second: slice) -> slice:
    return slice(min(first.start, second.start), max(first.stop, second.stop))


WHOLE = Box(slice(0, IMAGE_SIZE), slice(0, IMAGE_SIZE))


@dataclass(frozen=True)
class Span:
    """What rays spend inside a convex body: entry and exit along the ray, mm, both (H, W).

    A ray that misses the body has an interval of length zero.
    """

    near: Array
    far: Array

    @property
    def length(self) -> Array:
        """Chord lengths (H, W) in mm."""
        return self.far - self.near

    def cut(self, index: tuple[slice, slice]) -> Span:
        """Return the intervals of a rectangle of the rays."""
        return Span(self.near[index], self.far[index])

    def clipped(self, other: Span) -> Span:
        """Return the intersection with another interval, which lies inside ``other``."""
        return Span(
            np.minimum(np.maximum(self.near, other.near), other.far),
            np.minimum(np.maximum(self.far, other.near), other.far),
        )


def plane_coordinates(point: Point, view: View) -> tuple[float, float]:
    """Return the (row, column) in pixels where a point in mm is projected, 0 at a first centre."""
    column = _COLUMN_SIGN[view] * point[_COLUMN_AXIS[view]]
    half = FIELD_OF_VIEW / 2
    return (half - point[2]) / PIXEL - 0.5, (column + half) / PIXEL - 0.5


def row_height(row: float) -> float:
    """Return the height z in mm of an image row."""
    return FIELD_OF_VIEW / 2 - (row + 0.5) * PIXEL


def bounding_box(body: Ellipsoid, view: View) -> Box:
    """Return the smallest rectangle of pixels that holds the body's projection."""
    row, column = plane_coordinates(body.centre, view)
    high = body.extent[2] / PIXEL
    wide = body.extent[_COLUMN_AXIS[view]] / PIXEL

    def inside(low: float, up: float) -> slice:
        start = min(max(floor(low), 0), IMAGE_SIZE)
        return slice(start, min(max(ceil(up) + 1, start), IMAGE_SIZE))

    return Box(inside(row - high, row + high), inside(column - wide, column + wide))


def chord(body: Ellipsoid, view: View, box: Box = WHOLE) -> Span:
    """Intersect the rays through a box of pixel centres with an ellipsoid.

    With offsets (u, w) in the image plane and t along the ray, the surface is
    ``q_tt t^2 + 2 (q_tu u + q_tw w) t + q_uu u^2 + 2 q_uw u w + q_ww w^2 = 1``; the two roots in t
    are entry and exit.
    """
    ray, axis = _RAY_AXIS[view], _COLUMN_AXIS[view]
    rows = body.quadric.tolist()
    q_tt, q_uu, q_ww = rows[ray][ray], rows[axis][axis], rows[2][2]
    q_tu, q_tw, q_uw = rows[ray][axis], rows[ray][2], rows[axis][2]
    u = _COLUMN_SIGN[view] * _CENTRES[box.columns] - body.centre[axis]
    w = -_CENTRES[box.rows] - body.centre[2]
    # The root of the discriminant over q_tt: half the chord.
    half: Array = ((1.0 - q_uu * u * u) / q_tt)[None, :] - (q_ww / q_tt * w * w)[:, None]
    if q_uw != 0.0:
        half -= (2.0 * q_uw / q_tt * w)[:, None] * u[None, :]
    middle: Array | float = body.centre[ray]
    if q_tu != 0.0 or q_tw != 0.0:
        slope = (q_tu / q_tt * u)[None, :] + (q_tw / q_tt * w)[:, None]
        half += slope * slope
        middle = middle - slope
    np.maximum(half, 0.0, out=half)
    np.sqrt(half, out=half)
    return Span(middle - half, middle + half)


@lru_cache(maxsize=64)
def _network(count: int) -> tuple[tuple[int, int], ...]:
    """Return the comparators of Batcher's odd-even merge sort for ``count`` values."""
    pairs: list[tuple[int, int]] = []
    p = 1
    while p < count:
        k = p
        while k >= 1:
            for j in range(k % p, count - k, 2 * k):
                for i in range(min(k, count - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return tuple(pairs)


def _sorted(arrays: Sequence[Array]) -> list[Array]:
    """Sort element by element over a few arrays; whole-array comparators beat short sorts."""
    values = list(arrays)
    for low, high in _network(len(values)):
        values[low], values[high] = (
            np.minimum(values[low], values[high]),
            np.maximum(values[low], values[high]),
        )
    return values


def union_length(parts: Sequence[Span]) -> Array:
    """Return the exact length (H, W) of the union of the intervals of each ray.

    With the entries and the exits sorted separately, the union is the hull less the gaps
    ``max(0, entry[i + 1] - exit[i])``: exactly i + 1 intervals have ended before the next begins.
    """
    near = _sorted([part.near for part in parts])
    far = _sorted([part.far for part in parts])
    length = far[-1] - near[0]
    for entry, leave in zip(near[1:], far[:-1], strict=True):
        length -= np.maximum(entry - leave, 0.0)
    return length
