"""From findings to bodies in the thorax.

Each finding is placed by proposals that are accepted when the images show what they should: a
finding that is to be seen differs from the image without it by clearly more than 3 noise sigma, one
that is to be hidden by clearly less, so that no decision hangs on the last digit of a float. Hiding
is physical: an apex lies behind the shoulders of a lateral image, the back of a lung base behind
the diaphragm of a frontal one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from data_modules.phantom.simulator.anatomy import SIGN, Anatomy, Lung, LungSide
from data_modules.phantom.simulator.findings import Finding
from data_modules.phantom.simulator.geometry import (
    PIXEL,
    VIEWS,
    Ellipsoid,
    Point,
    View,
    plane_coordinates,
    row_height,
)
from data_modules.phantom.simulator.render import LUNG, Lesion, Scene, Shadow

DECIDED = 3.0  # noise sigma of the mean difference from which an image shows a finding
MARGIN = 0.6  # noise sigma that a placed finding keeps from DECIDED on either side
ATTEMPTS = 120

# Footprint areas in pixels, by kind and view: a small finding stays below the first, a large one
# above the second. The gap is the margin that a question about size needs.
AREAS: dict[tuple[str, View], tuple[int, int]] = {
    ("mass", "frontal"): (285, 340),
    ("mass", "lateral"): (285, 340),
    ("effusion", "frontal"): (240, 400),
    ("effusion", "lateral"): (380, 520),
    ("consolidation", "frontal"): (190, 250),
    ("consolidation", "lateral"): (190, 250),
    ("pneumothorax", "frontal"): (960, 1120),
    ("pneumothorax", "lateral"): (1560, 1800),
}
ZONE_MARGIN = 8.0  # mm between the middle of a footprint and the border of its zone
GAP = 3.0  # pixels between the outlines of nodules that can be counted


@dataclass(frozen=True, eq=False)
class Placed:
    """A finding in the volume and in the images.

    Attributes:
        finding: What it is.
        lesions: Its parts.
        shadows: Footprint and contrast per view, of all parts together.
        shown: Views that decide that it is there.
        sided: Views in which each of its parts by itself is decided.
        sized: Those of the shown views in which its footprint keeps the margin of its size class.
        zoned: Those in which its footprint keeps the margin of its zone.
        counted: Those in which its parts are decided and keep apart.
    """

    finding: Finding
    lesions: tuple[Lesion, ...]
    shadows: dict[View, Shadow]
    shown: tuple[View, ...]
    sided: tuple[View, ...]
    sized: tuple[View, ...]
    zoned: tuple[View, ...]
    counted: tuple[View, ...]


def place(
    rng: np.random.Generator, scene: Scene, findings: Sequence[Finding]
) -> tuple[Placed, ...]:
    """Place findings in a thorax, one after the other; only ``rng`` decides."""
    lesions: list[tuple[Lesion, ...]] = []
    for finding in findings:
        wanted = _wanted_views(rng, finding)
        before = [lesion for group in lesions for lesion in group]
        lesions.append(_accepted(rng, scene, finding, wanted, before))
    everything = [lesion for group in lesions for lesion in group]
    return tuple(
        _measured(scene, finding, group, everything)
        for finding, group in zip(findings, lesions, strict=True)
    )


def _wanted_views(rng: np.random.Generator, finding: Finding) -> tuple[View, ...]:
    """Draw the views that are to show a finding: about one in five is to be hidden on one."""
    chance = float(rng.random())
    if finding.count > 1 or finding.side == "both":
        return VIEWS
    if finding.kind == "effusion" and finding.size == "small":
        return ("lateral",) if chance < 0.7 else VIEWS
    if finding.kind == "nodule" or (
        finding.kind in ("mass", "consolidation") and finding.size == "small"
    ):
        if finding.zone == "upper":
            return ("frontal",) if chance < 0.7 else VIEWS
        if finding.zone == "lower":
            return ("lateral",) if chance < 0.6 else VIEWS
    return VIEWS


def _accepted(
    rng: np.random.Generator,
    scene: Scene,
    finding: Finding,
    wanted: tuple[View, ...],
    before: Sequence[Lesion],
) -> tuple[Lesion, ...]:
    """Propose bodies until the images show what they should; else keep the best proposal."""
    best: tuple[float, tuple[Lesion, ...]] = (-np.inf, ())
    for attempt in range(ATTEMPTS):
        # A pattern that this patient's anatomy does not allow is given up half-way.
        views = wanted if attempt < ATTEMPTS // 2 else VIEWS
        lesions = _propose(rng, scene.anatomy, finding, views)
        if lesions is None:
            continue
        score = np.inf
        together = [*before, *lesions]
        for view in VIEWS:
            # On a lateral image one lung lies behind the other: the finding counts as a whole.
            parts = [[lesion] for lesion in lesions] if view == "frontal" else [lesions]
            for part in parts:
                excess = scene.shadow(view, together, part).contrast - DECIDED
                score = min(score, excess if view in views else -excess)
            if score < MARGIN:
                break
        else:
            placed = _measured(scene, finding, lesions, together)
            if (
                (not finding.size or set(views) <= set(placed.sized))
                and (not finding.zone or set(views) <= set(placed.zoned))
                and (finding.count == 1 or "frontal" in placed.counted)
            ):
                return lesions
        if score > best[0]:
            best = (score, lesions)
    return best[1]


def _measured(
    scene: Scene, finding: Finding, lesions: tuple[Lesion, ...], everything: Sequence[Lesion]
) -> Placed:
    """Compare the images with and without a finding, all others present."""
    shadows: dict[View, Shadow] = {}
    shown: list[View] = []
    apart: list[View] = []
    sized: list[View] = []
    zoned: list[View] = []
    for view in VIEWS:
        whole = scene.shadow(view, everything, lesions)
        shadows[view] = whole
        if whole.contrast >= DECIDED:
            shown.append(view)
        if len(lesions) == 1 or all(
            scene.shadow(view, everything, [lesion]).contrast >= DECIDED for lesion in lesions
        ):
            apart.append(view)
        if finding.size and _keeps_size(finding, view, int(whole.mask.sum())):
            sized.append(view)
        if finding.zone and _keeps_zone(scene.anatomy, finding, whole):
            zoned.append(view)
    counted: tuple[View, ...] = ()
    if finding.kind == "nodule":
        counted = tuple(view for view in apart if view in shown and _countable(lesions, view))
    return Placed(
        finding,
        lesions,
        shadows,
        tuple(shown),
        tuple(view for view in apart if view in shown),
        tuple(view for view in sized if view in shown),
        tuple(view for view in zoned if view in shown),
        counted,
    )


def _keeps_size(finding: Finding, view: View, area: int) -> bool:
    """Tell whether a footprint of ``area`` pixels keeps clear of the other size class."""
    small, large = AREAS[finding.kind, view]
    lungs = len(finding.sides) if view == "frontal" else 1
    return area <= small * lungs if finding.size == "small" else area >= large * lungs


def _keeps_zone(anatomy: Anatomy, finding: Finding, shadow: Shadow) -> bool:
    """Tell whether the middle of a footprint keeps clear of the neighbouring zones."""
    rows = np.flatnonzero(shadow.mask.any(axis=1))
    if not rows.size:
        return False
    middle = row_height(float(np.average(rows, weights=shadow.mask.sum(axis=1)[rows])))
    side: LungSide = "left" if finding.side == "left" else "right"
    low, high = anatomy.lungs[side].zone_range(finding.zone)
    above = finding.zone == "upper" or middle <= high - ZONE_MARGIN
    return above and (finding.zone == "lower" or middle >= low + ZONE_MARGIN)


def _countable(lesions: Sequence[Lesion], view: View) -> bool:
    """Tell whether the outlines of round lesions keep clear of each other in a view."""
    bodies = [body for lesion in lesions for body in lesion.tissue]
    for i, first in enumerate(bodies):
        for second in bodies[:i]:
            apart = np.subtract(
                plane_coordinates(first.centre, view), plane_coordinates(second.centre, view)
            )
            radii = (first.axes[0] + second.axes[0]) / PIXEL
            if float(np.hypot(*apart)) < radii + GAP:
                return False
    return True


def _propose(
    rng: np.random.Generator, anatomy: Anatomy, finding: Finding, views: tuple[View, ...]
) -> tuple[Lesion, ...] | None:
    """Draw bodies for a finding; None where they do not fit into the lung."""
    sides: list[LungSide] = ["left" if side == "left" else "right" for side in finding.sides]
    if finding.kind == "cardiomegaly":
        return (_large_heart(rng, anatomy),)
    if finding.kind == "effusion":
        return tuple(_fluid(rng, anatomy.lungs[s], s, finding, views) for s in sides)
    if finding.kind == "pneumothorax":
        return tuple(_collapse(rng, anatomy.lungs[s], s, finding) for s in sides)
    lesions: list[Lesion] = []
    for index in range(finding.count):
        side = sides[index % len(sides)]
        lung = anatomy.lungs[side]
        if finding.kind == "consolidation":
            lesion = _patches(rng, anatomy, lung, side, finding, views)
        else:
            lesion = _round(rng, anatomy, lung, side, finding, views)
        if lesion is None:
            return None
        lesions.append(lesion)
    return tuple(lesions)


def _large_heart(rng: np.random.Generator, anatomy: Anatomy) -> Lesion:
    """Enlarge the heart well beyond the spread of normal hearts (which vary by 5 %)."""
    heart = anatomy.heart
    wide, deep, high = rng.uniform((1.52, 1.2, 1.2), (1.72, 1.35, 1.3)).tolist()
    x, y, z = heart.centre
    axes = (heart.axes[0] * wide, heart.axes[1] * deep, heart.axes[2] * high)
    return Lesion(None, heart=Ellipsoid((x + 8.0, y, z - 4.0), axes, heart.tilt))


def _fluid(
    rng: np.random.Generator, lung: Lung, side: LungSide, finding: Finding, views: tuple[View, ...]
) -> Lesion:
    """Fill the base of the pleural space: a layer over the dome, and a rim up the chest wall."""
    (x, y, _), (wide, deep, _) = lung.space.centre, lung.space.axes
    base = lung.borders[0]
    more = float(rng.uniform(-1, 1))
    if "frontal" not in views:  # behind the dome
        back = Ellipsoid(
            (x, y - 0.72 * deep, base - 34 + 3 * more), (30 + 2 * more, 26, 30 + 3 * more)
        )
        return Lesion(side, tissue=(back,))
    out = SIGN[side]
    if finding.size == "small":
        rim = Ellipsoid(
            (x + out * 0.82 * wide, y - 0.25 * deep, base - 24), (20, 0.75 * deep, 44 + 5 * more)
        )
        layer = Ellipsoid((x + out * 0.4 * wide, y - 0.3 * deep, base - 30), (30, 50, 32))
    else:
        rim = Ellipsoid(
            (x + out * 0.85 * wide, y - 0.15 * deep, base), (26, 0.95 * deep, 96 + 8 * more)
        )
        layer = Ellipsoid((x, y - 0.1 * deep, base - 8), (1.25 * wide, 1.1 * deep, 50 + 7 * more))
    return Lesion(side, tissue=(rim, layer))


def _collapse(rng: np.random.Generator, lung: Lung, side: LungSide, finding: Finding) -> Lesion:
    """Shrink a lung towards its hilum; gas fills the rest of its space."""
    (x, y, z), (wide, deep, high) = lung.space.centre, lung.space.axes
    more = float(rng.uniform(-1, 1))
    if finding.size == "small":
        shares, inward, down = (0.92 + 0.02 * more, 1.0, 0.88 + 0.02 * more), 0.07, 0.12
    else:
        shares, inward, down = (0.55 + 0.04 * more, 0.85, 0.62 + 0.04 * more), 0.36, 0.16
    centre = (x - SIGN[side] * inward * wide, y, z - down * high)
    kept = Ellipsoid(centre, (shares[0] * wide, shares[1] * deep, shares[2] * high))
    return Lesion(side, collapse=kept, density=LUNG if finding.size == "small" else 0.36)


def _spot(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lung: Lung,
    finding: Finding,
    views: tuple[View, ...],
    radius: float,
    spread: float,
) -> Point:
    """Draw a place in the finding's zone, or in the whole lung where it has none."""
    base, _, _, apex = lung.borders
    low, high = lung.zone_range(finding.zone) if finding.zone else (base, apex - 2 * radius)
    if finding.zone == "upper":
        high = apex - 0.5 * radius
    low, high = low + 10, high - 10
    if "lateral" not in views:
        low, high = apex - 36, apex - 16
    elif "frontal" not in views:
        low, high = base - 50, base - 12
    elif finding.zone == "upper":
        high = low + 0.6 * (high - low)
    z = float(rng.uniform(low, max(high, low + 4)))
    (x, y, middle), (wide, deep, tall) = lung.space.centre, lung.space.axes
    section = sqrt(max(0.05, 1 - ((z - middle) / tall) ** 2))
    turn, out = float(rng.uniform(0, 2 * np.pi)), spread * sqrt(float(rng.random()))
    dx = out * max(wide * section - 0.8 * radius, 4.0) * float(np.cos(turn))
    dy = out * max(deep * section - 0.8 * radius, 4.0) * float(np.sin(turn))
    if "lateral" not in views:
        dy = anatomy.shoulders[0].centre[1] - y + float(rng.uniform(-14, 14))
    if "frontal" not in views:
        dy = -float(rng.uniform(0.6, 0.85)) * deep * section
    return (x + dx, y + dy, z)


def _fits(anatomy: Anatomy, lung: Lung, point: Point, clearance: float) -> bool:
    """Tell whether a point keeps clear of all that is dense around the lung."""
    dense = (anatomy.heart, anatomy.mediastinum, lung.dome)
    return all(body.clearance(point) >= clearance for body in dense)


def _round(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lung: Lung,
    side: LungSide,
    finding: Finding,
    views: tuple[View, ...],
) -> Lesion | None:
    """Draw a nodule (radius 15-17.5 mm) or a mass (24-26.5 or 34-39 mm)."""
    bounds = {"": (15.0, 17.5), "small": (24.0, 26.5), "large": (34.0, 39.0)}[finding.size]
    radius = float(rng.uniform(*bounds))
    point = _spot(rng, anatomy, lung, finding, views, radius, 1.0)
    share = 0.7 if finding.kind == "nodule" else 0.3
    if not _fits(anatomy, lung, point, share * radius if "frontal" in views else -4.0):
        return None
    if finding.kind == "nodule":
        axes = (radius, radius, radius)
    else:
        axes = tuple((radius * rng.uniform(0.94, 1.06, 3)).tolist())
    return Lesion(side, tissue=(Ellipsoid(point, axes),))


def _patches(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lung: Lung,
    side: LungSide,
    finding: Finding,
    views: tuple[View, ...],
) -> Lesion | None:
    """Draw a cluster of blobs: an opacity with an uneven outline and an uneven density."""
    small = finding.size == "small"
    count, reach = (6, 17.0) if small else (11, 36.0)
    bounds = (10.0, 14.0) if small else (12.0, 19.0)
    centre = _spot(rng, anatomy, lung, finding, views, 22.0 if small else 34.0, 0.8)
    if not _fits(anatomy, lung, centre, 4.0 if "frontal" in views else -4.0):
        return None
    blobs = []
    for _ in range(count):
        radius = float(rng.uniform(*bounds))
        offset = rng.normal(0.0, 1.0, 3)
        offset *= reach * float(rng.uniform(0.4, 1.0)) / float(np.linalg.norm(offset))
        x, y, z = (offset + np.asarray(centre)).tolist()
        blobs.append(Ellipsoid((x, y, z), (radius, radius * 1.2, radius * 0.8)))
    return Lesion(side, patches=tuple(blobs))
