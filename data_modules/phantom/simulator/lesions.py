"""Place findings as bodies in the thorax, each clearly visible or clearly hidden on each view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np

from data_modules.phantom.simulator.anatomy import SIGN, Anatomy, Lung, LungSide
from data_modules.phantom.simulator.findings import Aspect, Finding
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

DECIDED = 3.0  # an image shows a finding from this mean difference on, in noise sigma
# Contrasts of an accepted proposal differ from DECIDED by at least this, in noise sigma, so that
# visibility does not depend on rounding errors.
MARGIN = 0.6
ATTEMPTS = 120

# Footprint areas in pixels by kind and view: (largest small finding, smallest large finding). The
# gap is the margin that a question about size needs.
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
ZONE_MARGIN = 8.0  # mm between a footprint's mean height and the border of its zone
GAP = 3.0  # pixels between the outlines of nodules that can be counted


@dataclass(frozen=True, eq=False)
class Placed:
    """A finding in the volume and in the images.

    Attributes:
        shadows: Footprint and contrast of all lesions together, by view.
        decided: Aspects that each view decides; none if the view does not show the finding.
            ``side`` and ``count`` require that the view shows each lesion on its own; ``zone``,
            ``size`` and ``count`` require a margin.
    """

    finding: Finding
    lesions: tuple[Lesion, ...]
    shadows: dict[View, Shadow]
    decided: dict[View, frozenset[Aspect]]

    @property
    def shown(self) -> tuple[View, ...]:
        """Return the views that show the finding."""
        return tuple(view for view, decided in self.decided.items() if "presence" in decided)


def place(
    rng: np.random.Generator, scene: Scene, findings: Sequence[Finding]
) -> tuple[Placed, ...]:
    """Place findings in a thorax one after the other."""
    groups: list[tuple[Lesion, ...]] = []
    for finding in findings:
        before = [lesion for group in groups for lesion in group]
        groups.append(_accepted(rng, scene, finding, _intended_views(rng, finding), before))
    everything = [lesion for group in groups for lesion in group]
    pairs = zip(findings, groups, strict=True)
    return tuple(_measured(scene, finding, group, everything) for finding, group in pairs)


def _intended_views(rng: np.random.Generator, finding: Finding) -> tuple[View, ...]:
    """Draw the views that should show a finding; about one finding in five is hidden on a view."""
    # Shoulders hide an apex on lateral images; the diaphragm hides the back of a lung base on
    # frontal images.
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
    intended: tuple[View, ...],
    before: Sequence[Lesion],
) -> tuple[Lesion, ...]:
    """Propose bodies until each view shows or hides them as intended; else keep the best ones."""
    best: tuple[float, tuple[Lesion, ...]] = (-np.inf, ())
    for attempt in range(ATTEMPTS):
        # Halfway, give up hiding a finding that this patient's anatomy does not hide.
        views = intended if attempt < ATTEMPTS // 2 else VIEWS
        lesions = _propose(rng, scene.anatomy, finding, views)
        if lesions is None:
            continue
        score = np.inf
        together = [*before, *lesions]
        for view in VIEWS:
            # On a lateral image one lung lies behind the other, so the finding counts as a whole.
            parts = [[lesion] for lesion in lesions] if view == "frontal" else [lesions]
            for part in parts:
                excess = scene.shadow(view, together, part).contrast - DECIDED
                score = min(score, excess if view in views else -excess)
            if score < MARGIN:
                break
        else:
            decided = _measured(scene, finding, lesions, together).decided
            clear = finding.aspects & {"size", "zone"}
            counted = finding.count == 1 or "count" in decided["frontal"]
            if counted and all(clear <= decided[view] for view in views):
                return lesions
        if score > best[0]:
            best = (score, lesions)
    return best[1]


def _measured(
    scene: Scene, finding: Finding, lesions: tuple[Lesion, ...], everything: Sequence[Lesion]
) -> Placed:
    """Compare the images with and without one finding among all."""
    shadows = {view: scene.shadow(view, everything, lesions) for view in VIEWS}
    decided: dict[View, frozenset[Aspect]] = {}
    for view, shadow in shadows.items():
        aspects: set[Aspect] = set()
        if shadow.contrast >= DECIDED:
            aspects.add("presence")
            each = len(lesions) == 1 or all(
                scene.shadow(view, everything, [lesion]).contrast >= DECIDED for lesion in lesions
            )
            if finding.side and each:
                aspects.add("side")
            if finding.zone and _keeps_zone(scene.anatomy, finding, shadow):
                aspects.add("zone")
            if finding.size and _keeps_size(finding, view, int(shadow.mask.sum())):
                aspects.add("size")
            if finding.kind == "nodule" and each and _countable(lesions, view):
                aspects.add("count")
        decided[view] = frozenset(aspects)
    return Placed(finding, lesions, shadows, decided)


def _keeps_size(finding: Finding, view: View, area: int) -> bool:
    """Return whether a footprint of ``area`` pixels is clearly in the finding's size class."""
    small, large = AREAS[finding.kind, view]
    lungs = len(finding.sides) if view == "frontal" else 1
    return area <= small * lungs if finding.size == "small" else area >= large * lungs


def _keeps_zone(anatomy: Anatomy, finding: Finding, shadow: Shadow) -> bool:
    """Return whether the mean height of a footprint is clearly in the finding's zone."""
    middle = row_height(float(np.nonzero(shadow.mask)[0].mean()))
    side: LungSide = "left" if finding.side == "left" else "right"
    low, high = anatomy.lungs[side].zone_range(finding.zone)
    above = finding.zone == "upper" or middle <= high - ZONE_MARGIN
    return above and (finding.zone == "lower" or middle >= low + ZONE_MARGIN)


def _countable(lesions: Sequence[Lesion], view: View) -> bool:
    """Return whether the outlines of round lesions are ``GAP`` pixels or more apart on a view."""
    bodies = [body for lesion in lesions for body in lesion.tissue]
    for first, second in combinations(bodies, 2):
        one, other = (plane_coordinates(body.centre, view) for body in (first, second))
        radii = (first.axes[0] + second.axes[0]) / PIXEL
        if np.hypot(one[0] - other[0], one[1] - other[1]) < radii + GAP:
            return False
    return True


def _propose(
    rng: np.random.Generator, anatomy: Anatomy, finding: Finding, views: tuple[View, ...]
) -> tuple[Lesion, ...] | None:
    """Draw bodies for a finding; None if they do not fit into the lung."""
    if finding.kind == "cardiomegaly":
        return (_large_heart(rng, anatomy),)
    lungs = [anatomy.lungs["left" if side == "left" else "right"] for side in finding.sides]
    if finding.kind == "effusion":
        return tuple(_fluid(rng, lung, finding, views) for lung in lungs)
    if finding.kind == "pneumothorax":
        return tuple(_collapse(rng, lung, finding) for lung in lungs)
    draw = _patches if finding.kind == "consolidation" else _round
    lesions: list[Lesion] = []
    for index in range(finding.count):
        lesion = draw(rng, anatomy, lungs[index % len(lungs)], finding, views)
        if lesion is None:
            return None
        lesions.append(lesion)
    return tuple(lesions)


def _large_heart(rng: np.random.Generator, anatomy: Anatomy) -> Lesion:
    """Enlarge the heart well beyond the 5 % by which normal hearts vary."""
    heart = anatomy.heart
    wide, deep, high = rng.uniform((1.52, 1.2, 1.2), (1.72, 1.35, 1.3)).tolist()
    x, y, z = heart.centre
    axes = (heart.axes[0] * wide, heart.axes[1] * deep, heart.axes[2] * high)
    return Lesion(None, heart=Ellipsoid((x + 8.0, y, z - 4.0), axes, heart.tilt))


def _fluid(
    rng: np.random.Generator, lung: Lung, finding: Finding, views: tuple[View, ...]
) -> Lesion:
    """Fill the base of the pleural space: a layer over the dome and a rim up the chest wall."""
    (x, y, _), (wide, deep, _) = lung.space.centre, lung.space.axes
    base = lung.borders[0]
    more = float(rng.uniform(-1, 1))
    if "frontal" not in views:  # behind the dome
        back = Ellipsoid(
            (x, y - 0.72 * deep, base - 34 + 3 * more), (30 + 2 * more, 26, 30 + 3 * more)
        )
        return Lesion(lung.side, tissue=(back,))
    out = SIGN[lung.side]
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
    return Lesion(lung.side, tissue=(rim, layer))


def _collapse(rng: np.random.Generator, lung: Lung, finding: Finding) -> Lesion:
    """Shrink a lung towards its hilum; gas fills the rest of its space."""
    (x, y, z), (wide, deep, high) = lung.space.centre, lung.space.axes
    more = float(rng.uniform(-1, 1))
    if finding.size == "small":
        shares, inward, down = (0.92 + 0.02 * more, 1.0, 0.88 + 0.02 * more), 0.07, 0.12
    else:
        shares, inward, down = (0.55 + 0.04 * more, 0.85, 0.62 + 0.04 * more), 0.36, 0.16
    centre = (x - SIGN[lung.side] * inward * wide, y, z - down * high)
    kept = Ellipsoid(centre, (shares[0] * wide, shares[1] * deep, shares[2] * high))
    return Lesion(lung.side, collapse=kept, density=LUNG if finding.size == "small" else 0.36)


def _spot(
    rng: np.random.Generator,
    anatomy: Anatomy,
    lung: Lung,
    finding: Finding,
    views: Sequence[View],
    radius: float,
    spread: float,
) -> Point:
    """Draw a point in the finding's zone, or in the whole lung if it has none."""
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
    """Return whether a point is at least ``clearance`` mm outside the dense bodies at the lung."""
    dense = (anatomy.heart, anatomy.mediastinum, lung.dome)
    return all(body.clearance(point) >= clearance for body in dense)


def _round(
    rng: np.random.Generator, anatomy: Anatomy, lung: Lung, finding: Finding, views: Sequence[View]
) -> Lesion | None:
    """Draw a nodule (radius 15-17.5 mm) or a mass (24-26.5 or 34-39 mm)."""
    bounds = {"": (15.0, 17.5), "small": (24.0, 26.5), "large": (34.0, 39.0)}[finding.size]
    radius = float(rng.uniform(*bounds))
    point = _spot(rng, anatomy, lung, finding, views, radius, 1.0)
    share = 0.7 if finding.kind == "nodule" else 0.3
    if not _fits(anatomy, lung, point, share * radius if "frontal" in views else -4.0):
        return None
    axes = (radius, radius, radius)
    if finding.kind == "mass":
        axes = tuple((radius * rng.uniform(0.94, 1.06, 3)).tolist())
    return Lesion(lung.side, tissue=(Ellipsoid(point, axes),))


def _patches(
    rng: np.random.Generator, anatomy: Anatomy, lung: Lung, finding: Finding, views: Sequence[View]
) -> Lesion | None:
    """Draw a cluster of blobs: an opacity with uneven outline and density."""
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
    return Lesion(lung.side, patches=tuple(blobs))
