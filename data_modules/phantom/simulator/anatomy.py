"""A healthy thorax made of ellipsoids, drawn for each patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_modules.phantom.simulator.findings import ZONES, Zone
from data_modules.phantom.simulator.geometry import Ellipsoid, Point

LungSide = Literal["left", "right"]
SIGN: dict[LungSide, float] = {"left": 1.0, "right": -1.0}


@dataclass(frozen=True)
class Lung:
    """One lung."""

    side: LungSide  # of the patient
    space: Ellipsoid  # pleural space, including the parts of diaphragm, heart and mediastinum in it
    dome: Ellipsoid  # diaphragm and everything under it
    vessels: tuple[Ellipsoid, ...]  # hilum and vessels, denser than the lung around them

    @property
    def borders(self) -> tuple[float, float, float, float]:
        """Return heights z in mm: dome, lower/middle border, middle/upper border, apex."""
        base = self.dome.centre[2] + self.dome.axes[2]
        apex = self.space.centre[2] + self.space.axes[2]
        third = (apex - base) / 3
        return base, base + third, apex - third, apex

    def zone_range(self, zone: Zone) -> tuple[float, float]:
        """Return the lowest and highest z of a zone in mm."""
        index = 2 - ZONES.index(zone)
        return self.borders[index], self.borders[index + 1]


@dataclass(frozen=True)
class Anatomy:
    """Everything in a healthy thorax."""

    torso: Ellipsoid
    shoulders: tuple[Ellipsoid, ...]  # outside the torso; cover the apices on a lateral image
    lungs: dict[LungSide, Lung]
    heart: Ellipsoid
    mediastinum: Ellipsoid
    trachea: Ellipsoid
    bubble: Ellipsoid | None  # air in the stomach under the left dome
    bones: tuple[Ellipsoid, ...]  # vertebrae, clavicles and sternum
    cage: tuple[Ellipsoid, Ellipsoid]  # outer and inner face of the rib cage
    ribs: tuple[Ellipsoid, ...]  # thin slanted discs; the part in the cage's wall is a rib pair


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient."""

    def about(value: float, share: float) -> float:
        return value * float(rng.uniform(1 - share, 1 + share))

    # The patient's position, the same in both views.
    left, front, up = rng.uniform(-8.0, 8.0, 3).tolist()

    def body(centre: Point, axes: Point, tilt: tuple[float, float] = (0.0, 0.0)) -> Ellipsoid:
        x, y, z = centre
        return Ellipsoid((x + left, y + front, z + up), axes, tilt)

    scale = about(0.98, 0.06)
    wide, deep, high = scale * about(1, 0.05), scale * about(1, 0.07), scale * about(1, 0.04)
    torso = body((0, 0, -60 * high), (152 * wide, 108 * deep, 262 * high))
    shoulders = tuple(
        body((sign * 126 * wide, -12 * deep, 128 * high), (54 * wide, 46 * deep, 46 * high))
        for sign in SIGN.values()
    )
    lungs: dict[LungSide, Lung] = {}
    for side, sign in SIGN.items():
        space = body(
            (sign * 68 * wide, -4 * deep, -3 * high),
            (about(52, 0.04) * wide, 80 * deep, 133 * high),
        )
        rise = float(rng.uniform(4, 14)) if side == "right" else 0.0
        dome = body(
            (sign * 62 * wide, 26 * deep, (-150 + rise) * high),
            (74 * wide, 92 * deep, about(88, 0.04) * high),
        )
        hilum = (sign * 34 * wide, -6 * deep, float(rng.uniform(8, 18)) * high)
        vessels = [body(hilum, (11, 14, 19), (sign * -12.0, 0))]
        for angle in (-38, 4, 40, 72, 112, 146):
            turn = float(rng.uniform(angle - 9, angle + 9))  # degrees from vertical, outwards
            reach = float(rng.uniform(26, 36)) * scale
            outward, upward = float(np.sin(np.radians(turn))), float(np.cos(np.radians(turn)))
            centre = (
                hilum[0] + sign * outward * reach,
                hilum[1] + float(rng.uniform(-24, 24)),
                hilum[2] + upward * reach,
            )
            vessels.append(body(centre, (4.0, 5.0, reach), (sign * turn, 0)))
        lungs[side] = Lung(side, space, dome, tuple(vessels))
    heart = body(
        (float(rng.uniform(12, 18)) * wide, 20 * deep, -42 * high),
        (about(45, 0.05) * wide, about(46, 0.05) * deep, about(58, 0.04) * high),
        (-28, 0),
    )
    vertebrae = [body((0, -68 * deep, z * high), (17, 16, 10.5)) for z in range(-156, 170, 24)]
    clavicles = [
        body((sign * 62 * wide, 34 * deep, 112 * high), (52 * wide, 6, 5), (sign * -14.0, 0))
        for sign in SIGN.values()
    ]
    sternum = body((0, 86 * deep, 22 * high), (15, 5, 68 * high))
    cage = (
        body((0, -2 * deep, 0), (132 * wide, 95 * deep, 172 * high)),
        body((0, -2 * deep, 0), (125 * wide, 89 * deep, 166 * high)),
    )
    slant = float(rng.uniform(16, 22))
    first = float(rng.uniform(-4, 4))
    ribs = tuple(
        body((0, 0, (first + z) * high), (210, 160, 4.6), (0, slant)) for z in range(-96, 112, 25)
    )
    bubble = None
    if rng.random() < 0.7:
        bubble = body(
            (float(rng.uniform(48, 66)) * wide, 10 * deep, -102 * high),
            (about(22, 0.2), 24, about(13, 0.2)),
        )
    return Anatomy(
        torso=torso,
        shoulders=shoulders,
        lungs=lungs,
        heart=heart,
        mediastinum=body((3, -8 * deep, 30 * high), (27 * wide, 46 * deep, 120 * high)),
        trachea=body((0, -14 * deep, 100 * high), (8, 9, 62 * high)),
        bubble=bubble,
        bones=(*vertebrae, *clavicles, sternum),
        cage=cage,
        ribs=ribs,
    )
