"""Radiographs of a thorax: exact line integrals, Beer-Lambert, film and noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from data_modules.phantom.simulator.anatomy import Anatomy, LungSide
from data_modules.phantom.simulator.geometry import (
    VIEWS,
    Array,
    Box,
    Ellipsoid,
    Span,
    View,
    bounding_box,
    chord,
    union_length,
)

TISSUE = 0.025  # attenuation of soft tissue, 1/mm; makes dense regions white
BONE = 0.022  # attenuation of bone above that of tissue, 1/mm
RIB = 0.014  # the same for ribs, which are mostly hollow
LUNG = 0.28  # densities relative to tissue
CONSOLIDATED_LUNG = 0.88
GAS = 0.02
FIELD_GREY = 0.7  # blackening of the healthy lung field under automatic exposure
EDGE = 0.25  # pixels of a footprint change by at least this share of the largest change


@dataclass(frozen=True, eq=False)
class Lesion:
    """One part of a finding as bodies in the volume."""

    side: LungSide | None  # the changed lung; None for the heart
    tissue: tuple[Ellipsoid, ...] = ()  # tissue or fluid in place of air
    patches: tuple[Ellipsoid, ...] = ()  # consolidated parts of the lung
    collapse: Ellipsoid | None = None  # the collapsed lung; gas fills the rest of its space
    density: float = LUNG  # of the collapsed lung, relative to tissue
    heart: Ellipsoid | None = None  # replaces the normal heart


@dataclass(frozen=True)
class Exposure:
    """Exposure of one image."""

    factor: float  # relative to automatic exposure
    noise: float  # sigma of the detector's noise in grey levels


class Projection:
    """One view of a patient: line integrals of body, minus the lungs' air, plus bone."""

    def __init__(self, anatomy: Anatomy, view: View) -> None:
        self.anatomy, self.view = anatomy, view
        self.boxes: dict[LungSide, Box] = {}
        self._spaces: dict[LungSide, Span] = {}
        self._bounds: dict[LungSide, list[Span]] = {}
        for side, lung in anatomy.lungs.items():
            self.boxes[side] = bounding_box(lung.space, view)
            self._spaces[side] = chord(lung.space, view, self.boxes[side])
            self._bounds[side] = [
                self._inside(side, body) for body in (lung.dome, anatomy.mediastinum)
            ]
        self._covered: dict[tuple[LungSide, Ellipsoid], tuple[list[Span], Array]] = {}
        self._vessel_sums: dict[tuple[LungSide, Ellipsoid | None], Array] = {}
        self._static = self._fixed()
        self._deficits: dict[tuple[LungSide, tuple[Lesion, ...]], Array] = {}
        self.black = self._automatic_exposure()

    def _inside(self, side: LungSide, body: Ellipsoid) -> Span:
        """Intersect a body with the pleural space of one lung, in the lung's box."""
        return chord(body, self.view, self.boxes[side]).clipped(self._spaces[side])

    def _fixed(self) -> Array:
        """Integrate body, bone and the gas outside the lungs (H, W)."""
        anatomy, view = self.anatomy, self.view
        torso = chord(anatomy.torso, view)
        total = TISSUE * torso.length

        def add(body: Ellipsoid, attenuation: float, outside: bool = False) -> None:
            box = bounding_box(body, view)
            inner = chord(body, view, box)
            length = inner.length
            if outside:
                length = length - inner.clipped(torso.cut(box.slices)).length
            total[box.slices] += attenuation * length

        for shoulder in anatomy.shoulders:
            add(shoulder, TISSUE, outside=True)
        for gas in (anatomy.trachea, anatomy.bubble):
            if gas is not None:
                add(gas, -TISSUE * (1 - GAS))
        for bone in anatomy.bones:
            add(bone, BONE)
        outer, inner = (chord(face, view) for face in anatomy.cage)
        for rib in anatomy.ribs:
            box = bounding_box(rib, view)
            disc = chord(rib, view, box)
            within, hollow = (disc.clipped(f.cut(box.slices)).length for f in (outer, inner))
            total[box.slices] += RIB * (within - hollow)
        return total

    def _automatic_exposure(self) -> float:
        """Return the signal at which the film is black, set by the healthy lung field."""
        healthy = self.integral(())
        signals = []
        for side, box in self.boxes.items():
            chords = self._spaces[side].length
            signals.append(np.exp(-healthy[box.slices][chords > 0.5 * chords.max()]))
        return float(np.percentile(np.concatenate(signals), 70)) / FIELD_GREY

    def _deficit(self, side: LungSide, lesions: Sequence[Lesion]) -> Array:
        """Integrate how much less than tissue a lung attenuates, (H, W) of the lung's box."""
        # Air is the part of a lung's chord that no denser body covers, an exact union of intervals.
        key = (side, tuple(lesions))
        if key in self._deficits:
            return self._deficits[key]
        space, box = self._spaces[side], self.boxes[side]
        heart = next((x.heart for x in lesions if x.heart is not None), self.anatomy.heart)
        density, collapse = next(
            ((x.density, x.collapse) for x in lesions if x.collapse is not None), (LUNG, None)
        )
        solid, covered = self._bounded(side, heart)
        tissue = [body for lesion in lesions for body in lesion.tissue]
        patches = [body for lesion in lesions for body in lesion.patches]
        if tissue:
            spot = self._spot(side, tissue)
            index = spot.within(box)
            covered = covered.copy()
            covered[index] = self._union(side, spot, solid, tissue)
        aerated = space.length - covered
        deficit = np.zeros_like(aerated)
        if collapse is not None:
            gas = space.length - self._union(side, box, solid, [*tissue, collapse])
            deficit += (1 - GAS) * gas
            aerated = aerated - gas
        if patches:
            spot = self._spot(side, patches)
            index = spot.within(box)
            patched = self._union(side, spot, solid, [*tissue, *patches]) - covered[index]
            deficit[index] += (1 - CONSOLIDATED_LUNG) * patched
            aerated[index] -= patched
        deficit += (1 - density) * aerated
        deficit *= TISSUE
        deficit -= self._vessels(side, collapse)
        self._deficits[key] = deficit
        return deficit

    def _spot(self, side: LungSide, bodies: Sequence[Ellipsoid]) -> Box:
        """Return the part of a lung's box that contains the bodies."""
        boxes = [bounding_box(body, self.view).common(self.boxes[side]) for body in bodies]
        return reduce(Box.hull, boxes)

    def _union(
        self, side: LungSide, spot: Box, solid: Sequence[Span], bodies: Sequence[Ellipsoid]
    ) -> Array:
        """Return the covered length of a lung's chords in a part of its box."""
        index = spot.within(self.boxes[side])
        space = self._spaces[side].cut(index)
        parts = [interval.cut(index) for interval in solid]
        parts += [chord(body, self.view, spot).clipped(space) for body in bodies]
        return union_length(parts)

    def _bounded(self, side: LungSide, heart: Ellipsoid) -> tuple[list[Span], Array]:
        """Return the intervals that dense organs cover in a lung, and their total length."""
        key = (side, heart)
        if key not in self._covered:
            solid = [*self._bounds[side], self._inside(side, heart)]
            self._covered[key] = (solid, union_length(solid))
        return self._covered[key]

    def _vessels(self, side: LungSide, collapse: Ellipsoid | None) -> Array:
        """Integrate the vessels of a lung inside its space, or inside the collapsed lung."""
        key = (side, collapse)
        if key in self._vessel_sums:
            return self._vessel_sums[key]
        box = self.boxes[side]
        holder = self._spaces[side] if collapse is None else self._inside(side, collapse)
        total = np.zeros_like(holder.near)
        for vessel in self.anatomy.lungs[side].vessels:
            spot = self._spot(side, [vessel])
            index = spot.within(box)
            inside = chord(vessel, self.view, spot).clipped(holder.cut(index))
            total[index] += TISSUE * (1 - LUNG) * inside.length
        self._vessel_sums[key] = total
        return total

    def integral(self, lesions: Iterable[Lesion]) -> Array:
        """Integrate the attenuation along each ray (112, 112), dimensionless."""
        lesions = tuple(lesions)
        total = self._static.copy()
        for side, box in self.boxes.items():
            here = tuple(x for x in lesions if x.side == side or x.heart is not None)
            total[box.slices] -= self._deficit(side, here)
        return total


def film(integral: Array, black: float) -> Array:
    """Convert line integrals of any shape to noiseless grey levels from 0 (black) to 255 (white).

    The signal is exp(-integral) (Beer-Lambert). Film darkens linearly up to the signal ``black``.
    """
    grey: Array = 255.0 * (1.0 - np.minimum(np.exp(-integral) / black, 1.0))
    return grey


def develop(clean: Array, exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add detector noise to noiseless grey levels and round to 8 bits."""
    noisy = clean + rng.normal(0.0, exposure.noise, clean.shape)
    pixels: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return pixels


@dataclass(frozen=True, eq=False)
class Shadow:
    """Effect of one finding on one image.

    The footprint is where the line integral changes by at least a quarter of the largest change.
    """

    mask: NDArray[np.bool_]  # footprint (112, 112)
    contrast: float  # mean absolute change of the noiseless image over the mask, in noise sigma


class Scene:
    """Both views of one patient's volume."""

    def __init__(self, anatomy: Anatomy, exposures: dict[View, Exposure]) -> None:
        self.anatomy, self.exposures = anatomy, exposures
        self._projections = {view: Projection(anatomy, view) for view in VIEWS}
        self._shadows: dict[tuple[View, tuple[Lesion, ...], tuple[Lesion, ...]], Shadow] = {}

    def clean(self, view: View, lesions: Iterable[Lesion]) -> Array:
        """Return the noiseless image (112, 112), grey levels 0 to 255 before rounding."""
        return film(self._projections[view].integral(lesions), self._black(view))

    def _black(self, view: View) -> float:
        return self._projections[view].black / self.exposures[view].factor

    def shadow(self, view: View, lesions: Sequence[Lesion], removed: Sequence[Lesion]) -> Shadow:
        """Compare the noiseless images with all lesions and without the removed ones."""
        key = (view, tuple(lesions), tuple(removed))
        if key in self._shadows:
            return self._shadows[key]
        kept = [lesion for lesion in lesions if lesion not in removed]
        projection = self._projections[view]
        present, absent = projection.integral(lesions), projection.integral(kept)
        change = np.abs(present - absent)
        maximum, black = float(change.max()), self._black(view)
        found = Shadow(np.zeros(change.shape, dtype=np.bool_), 0.0)
        if maximum > 1e-9:
            mask = change >= EDGE * maximum
            difference = film(present[mask], black) - film(absent[mask], black)
            contrast = float(np.abs(difference).mean()) / self.exposures[view].noise
            found = Shadow(mask, contrast)
        self._shadows[key] = found
        return found
