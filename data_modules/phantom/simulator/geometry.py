"""Exact intersections of ellipsoids with parallel rays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, cos, floor, radians, sin, sqrt
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
View = Literal["frontal", "lateral"]
Point = tuple[float, float, float]

VIEWS: tuple[View, ...] = get_args(View)
IMAGE_SIZE = 112  # pixels: enough for the findings, and quick to draw and to train on
FIELD_OF_VIEW = 320.0  # mm
PIXEL = FIELD_OF_VIEW / IMAGE_SIZE  # side of a pixel in mm

# Patient coordinates in mm: x to the patient's left, y to the front, z up. The patient's left is on
# the right of a frontal image; the patient faces the left of a lateral image.
_RAY_AXIS: dict[View, int] = {"frontal": 1, "lateral": 0}
_COLUMN_AXIS: dict[View, int] = {"frontal": 0, "lateral": 1}
_COLUMN_SIGN: dict[View, float] = {"frontal": 1.0, "lateral": -1.0}
_CENTRES: Array = (np.arange(IMAGE_SIZE, dtype=np.float64) + 0.5) * PIXEL - FIELD_OF_VIEW / 2


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid in patient coordinates.

    Attributes:
        centre: Centre (x, y, z) in mm.
        axes: Half axes in mm, along x, y and z before the rotation.
        tilt: Rotations in degrees: first about y (positive turns the top to the patient's left),
            then about x (positive lowers the front).
        quadric: Matrix (3, 3) in 1/mm^2; the surface is ``offset @ quadric @ offset = 1``.
        extent: Half extents along x, y and z in mm.
    """

    centre: Point
    axes: Point
    tilt: tuple[float, float] = (0.0, 0.0)
    quadric: Array = field(init=False, repr=False, compare=False)
    extent: Point = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        squares = np.square(np.asarray(self.axes, dtype=np.float64))
        (cos_y, sin_y), (cos_x, sin_x) = ((cos(a), sin(a)) for a in map(radians, self.tilt))
        turn_y = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
        turn_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
        rotation = turn_x @ turn_y
        object.__setattr__(self, "quadric", (rotation / squares) @ rotation.T)
        x, y, z = np.sqrt((rotation * rotation) @ squares).tolist()
        object.__setattr__(self, "extent", (x, y, z))

    def clearance(self, point: Point) -> float:
        """Return the approximate distance of a point from the surface in mm, negative inside."""
        offset = np.subtract(point, self.centre)
        return (sqrt(float(offset @ self.quadric @ offset)) - 1.0) * min(self.axes)


class Box(NamedTuple):
    """A rectangle of image pixels; ``bottom`` and ``right`` are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the index of the rectangle in an image array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def common(self, other: Box) -> Box:
        """Return the intersection, possibly empty."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, max(top, bottom), left, max(left, right))

    def hull(self, other: Box) -> Box:
        """Return the smallest rectangle that contains both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        return Box(top, max(self.bottom, other.bottom), left, max(self.right, other.right))

    def within(self, outer: Box) -> tuple[slice, slice]:
        """Return the index of the rectangle in an array that covers only ``outer``."""
        top, left = outer.top, outer.left
        return slice(self.top - top, self.bottom - top), slice(self.left - left, self.right - left)


WHOLE = Box(0, IMAGE_SIZE, 0, IMAGE_SIZE)


@dataclass(frozen=True)
class Span:
    """Entry and exit (H, W) of rays through a convex body, in mm; equal where a ray misses it."""

    near: Array
    far: Array

    @property
    def length(self) -> Array:
        """Return the chord lengths (H, W) in mm."""
        return self.far - self.near

    def cut(self, index: tuple[slice, slice]) -> Span:
        """Select a rectangle of the rays."""
        return Span(self.near[index], self.far[index])

    def clipped(self, other: Span) -> Span:
        """Return the intersection with ``other``."""
        near, far = (np.clip(edge, other.near, other.far) for edge in (self.near, self.far))
        return Span(near, far)


def plane_coordinates(point: Point, view: View) -> tuple[float, float]:
    """Project a point in mm to (row, column) in pixels; (0, 0) is the first pixel's centre."""
    column = _COLUMN_SIGN[view] * point[_COLUMN_AXIS[view]]
    half = FIELD_OF_VIEW / 2
    return (half - point[2]) / PIXEL - 0.5, (column + half) / PIXEL - 0.5


def row_height(row: float) -> float:
    """Return the height z in mm of an image row."""
    return FIELD_OF_VIEW / 2 - (row + 0.5) * PIXEL


def bounding_box(body: Ellipsoid, view: View) -> Box:
    """Return the smallest rectangle of pixels that contains the body's projection."""
    row, column = plane_coordinates(body.centre, view)
    high = body.extent[2] / PIXEL
    wide = body.extent[_COLUMN_AXIS[view]] / PIXEL

    def inside(low: float, up: float) -> tuple[int, int]:
        start = min(max(floor(low), 0), IMAGE_SIZE)
        return start, min(max(ceil(up) + 1, start), IMAGE_SIZE)

    return Box(*inside(row - high, row + high), *inside(column - wide, column + wide))


def chord(body: Ellipsoid, view: View, box: Box = WHOLE) -> Span:
    """Intersect the rays through a box of pixel centres with an ellipsoid."""
    # With offsets (u, w) in the image plane and t along the ray, the surface is
    # q_tt t^2 + 2 (q_tu u + q_tw w) t + q_uu u^2 + 2 q_uw u w + q_ww w^2 = 1.
    # The two roots in t are entry and exit.
    ray, axis = _RAY_AXIS[view], _COLUMN_AXIS[view]
    rows = body.quadric.tolist()
    q_tt, q_uu, q_ww = rows[ray][ray], rows[axis][axis], rows[2][2]
    q_tu, q_tw, q_uw = rows[ray][axis], rows[ray][2], rows[axis][2]
    u = _COLUMN_SIGN[view] * _CENTRES[box.left : box.right] - body.centre[axis]
    w = -_CENTRES[box.top : box.bottom] - body.centre[2]
    # Half the chord is the root of the discriminant over q_tt.
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


def _sorted(arrays: Sequence[Array]) -> list[Array]:
    """Sort elementwise; exchanging whole arrays is faster than ``np.sort`` for few arrays."""
    values = list(arrays)
    for last in range(len(values) - 1, 0, -1):
        for i in range(last):
            low, high = values[i : i + 2]
            values[i], values[i + 1] = np.minimum(low, high), np.maximum(low, high)
    return values


def union_length(parts: Sequence[Span]) -> Array:
    """Return the exact length (H, W) in mm of the union of each ray's intervals."""
    # Entries and exits are sorted separately. The length is the hull minus the gaps
    # max(0, entry[i + 1] - exit[i]): exactly i + 1 intervals end before the next begins.
    near = _sorted([part.near for part in parts])
    far = _sorted([part.far for part in parts])
    length = far[-1] - near[0]
    for entry, leave in zip(near[1:], far[:-1], strict=True):
        length -= np.maximum(entry - leave, 0.0)
    return length
