"""Radiographs of a thorax: exact line integrals, Beer-Lambert, film, noise.

Both views integrate one volume. Along a ray the volume is a sum of path lengths: body, less what a
lung holds of air, plus bone. The lung's share is the length of its chord that no denser body
covers, an exact union of intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.phantom.anatomy import Anatomy, LungSide
from data_modules.phantom.geometry import (
    VIEWS,
    WHOLE,
    Array,
    Box,
    Ellipsoid,
    Interval,
    View,
    bounding_box,
    chord,
    union_length,
)

TISSUE = 0.025  # attenuation of soft tissue, 1/mm; chosen so that dense regions turn white
BONE = 0.022  # attenuation of bone above that of tissue, 1/mm
LUNG = 0.28  # densities relative to tissue
COLLAPSED_LUNG = 0.42
CONSOLIDATED_LUNG = 0.75
GAS = 0.02
# Detector signal that turns the film black, as a share of the unattenuated beam: automatic
# exposure gives the thicker lateral view more.
BLACK: dict[View, float] = {"frontal": 0.105, "lateral": 0.022}
EDGE = 0.25  # a footprint holds the pixels whose line integral changes by this share of the most


@dataclass(frozen=True, eq=False)
class Lesion:
    """One part of a finding as bodies in the volume.

    Attributes:
        side: The lung it changes; None for the heart.
        tissue: Bodies of tissue or fluid that replace air.
        patches: Bodies that consolidate the lung.
        collapse: What is left of a collapsed lung, the rest of its space being gas.
        heart: The heart that replaces the normal one.
    """

    side: LungSide | None
    tissue: tuple[Ellipsoid, ...] = ()
    patches: tuple[Ellipsoid, ...] = ()
    collapse: Ellipsoid | None = None
    heart: Ellipsoid | None = None


@dataclass(frozen=True)
class Exposure:
    """How one image was taken: relative exposure, and sigma of its noise in grey levels."""

    factor: float
    noise: float


class Projection:
    """One view of one patient: line integrals with any set of lesions.

    Args:
        anatomy: The healthy thorax.
        view: Direction of the rays.
    """

    def __init__(self, anatomy: Anatomy, view: View) -> None:
        self.anatomy = anatomy
        self.view = view
        self.boxes: dict[LungSide, Box] = {
            side: bounding_box(lung.space, view) for side, lung in anatomy.lungs.items()
        }
        self._spaces: dict[LungSide, Interval] = {}
        self._bounds: dict[LungSide, list[Interval]] = {}
        for side, lung in anatomy.lungs.items():
            space = chord(lung.space, view, self.boxes[side])
            self._spaces[side] = space
            self._bounds[side] = [
                self._inside(side, body) for body in (lung.dome, anatomy.mediastinum)
            ]
        self._static = self._fixed()
        self._deficits: dict[tuple[LungSide, tuple[int, ...]], Array] = {}
        self._kept: list[Lesion] = []  # keeps the lesions alive whose ids are keys above

    def _inside(self, side: LungSide, body: Ellipsoid) -> Interval:
        """Intersect a body with the pleural space of one lung, in the lung's box."""
        return chord(body, self.view, self.boxes[side]).clipped(self._spaces[side])

    def _fixed(self) -> Array:
        """Integrate what no lesion changes: body, gas outside the lungs and bone, (H, W)."""
        anatomy, view = self.anatomy, self.view
        torso = chord(anatomy.torso, view)
        total = TISSUE * torso.length

        def add(body: Ellipsoid, attenuation: float, outside: bool = False) -> None:
            box = bounding_box(body, view)
            inner = chord(body, view, box)
            length = inner.length
            if outside:
                here = Interval(torso.near[box.slices], torso.far[box.slices])
                length = length - inner.clipped(here).length
            total[box.slices] += attenuation * length

        for shoulder in anatomy.shoulders:
            add(shoulder, TISSUE, outside=True)
        add(anatomy.trachea, -TISSUE * (1 - GAS))
        if anatomy.bubble is not None:
            add(anatomy.bubble, -TISSUE * (1 - GAS))
        for bone in anatomy.bones:
            add(bone, BONE)
        outer, inner = (chord(face, view) for face in anatomy.cage)
        for rib in anatomy.ribs:
            box = bounding_box(rib, view)
            disc = chord(rib, view, box)
            faces = [
                Interval(face.near[box.slices], face.far[box.slices]) for face in (outer, inner)
            ]
            shell = disc.clipped(faces[0]).length - disc.clipped(faces[1]).length
            total[box.slices] += BONE * shell
        return total

    def _deficit(self, side: LungSide, lesions: Sequence[Lesion]) -> Array:
        """Integrate what one lung lacks of a tissue-filled space, (H, W) of the lung's box."""
        key = (side, tuple(id(lesion) for lesion in lesions))
        if key in self._deficits:
            return self._deficits[key]
        space, lung = self._spaces[side], self.anatomy.lungs[side]
        heart = next((x.heart for x in lesions if x.heart is not None), self.anatomy.heart)
        collapse = next((x.collapse for x in lesions if x.collapse is not None), None)
        solid = [*self._bounds[side], self._inside(side, heart)]
        solid += [self._inside(side, body) for lesion in lesions for body in lesion.tissue]
        patches = [self._inside(side, body) for lesion in lesions for body in lesion.patches]
        covered = union_length(solid)
        aerated = space.length - covered
        density = LUNG
        holder = space
        deficit = np.zeros_like(aerated)
        if collapse is not None:
            density = COLLAPSED_LUNG
            holder = self._inside(side, collapse)
            gas = space.length - union_length([*solid, holder])
            deficit += (1 - GAS) * gas
            aerated = aerated - gas
        if patches:
            patched = union_length([*solid, *patches]) - covered
            deficit += (1 - CONSOLIDATED_LUNG) * patched
            aerated = aerated - patched
        deficit += (1 - density) * aerated
        deficit *= TISSUE
        box = self.boxes[side]
        for vessel in lung.vessels:
            spot = _overlap(bounding_box(vessel, self.view), box)
            local = (
                slice(spot.rows.start - box.rows.start, spot.rows.stop - box.rows.start),
                slice(
                    spot.columns.start - box.columns.start, spot.columns.stop - box.columns.start
                ),
            )
            around = Interval(holder.near[local], holder.far[local])
            inside = chord(vessel, self.view, spot).clipped(around)
            deficit[local] -= TISSUE * (1 - LUNG) * inside.length
        self._deficits[key] = deficit
        self._kept.extend(lesions)
        return deficit

    def integral(self, lesions: Iterable[Lesion]) -> Array:
        """Return the line integrals of attenuation (112, 112), without unit."""
        lesions = tuple(lesions)
        total = self._static.copy()
        for side, box in self.boxes.items():
            here = tuple(x for x in lesions if x.side == side or x.heart is not None)
            total[box.slices] -= self._deficit(side, here)
        return total


def _overlap(first: Box, second: Box) -> Box:
    """Return the common rectangle of two boxes, possibly empty."""

    def both(a: slice, b: slice) -> slice:
        start = max(a.start, b.start)
        return slice(start, max(start, min(a.stop, b.stop)))

    return Box(both(first.rows, second.rows), both(first.columns, second.columns))


def film(integral: Array, view: View, exposure: Exposure) -> Array:
    """Turn line integrals into noiseless grey levels, 0 (black, much signal) to 255 (white).

    Beer-Lambert: signal = exposure x exp(-integral); the film darkens in proportion to it.
    """
    signal = np.exp(-integral) * (exposure.factor / BLACK[view])
    grey: Array = 255.0 * (1.0 - np.minimum(signal, 1.0))
    return grey


def develop(clean: Array, exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add the detector's noise to noiseless grey levels and store them in 8 bits."""
    noisy = clean + rng.normal(0.0, exposure.noise, clean.shape)
    pixels: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return pixels


@dataclass(frozen=True, eq=False)
class Shadow:
    """What one finding does to one image.

    Attributes:
        mask: Its footprint (112, 112): pixels where the line integral with and without it differs
            by at least a quarter of the largest difference.
        contrast: Mean absolute difference of the noiseless images over the footprint, in noise
            sigma.
    """

    mask: NDArray[np.bool_]
    contrast: float


class Scene:
    """A patient before the two detectors.

    Args:
        anatomy: The healthy thorax.
        exposures: Exposure of each view.
    """

    def __init__(self, anatomy: Anatomy, exposures: dict[View, Exposure]) -> None:
        self.anatomy = anatomy
        self.exposures = exposures
        self._projections = {view: Projection(anatomy, view) for view in VIEWS}

    def clean(self, view: View, lesions: Iterable[Lesion]) -> Array:
        """Return the noiseless image (112, 112), grey levels 0 to 255 before rounding."""
        integral = self._projections[view].integral(lesions)
        return film(integral, view, self.exposures[view])

    def shadow(self, view: View, lesions: Sequence[Lesion], removed: Sequence[Lesion]) -> Shadow:
        """Compare the noiseless images with all lesions and without the removed ones."""
        kept = [lesion for lesion in lesions if lesion not in removed]
        projection, exposure = self._projections[view], self.exposures[view]
        present, absent = projection.integral(lesions), projection.integral(kept)
        change = np.abs(present - absent)
        most = float(change.max())
        if most <= 1e-9:
            return Shadow(np.zeros(change.shape, dtype=np.bool_), 0.0)
        mask = change >= EDGE * most
        difference = film(present[mask], view, exposure) - film(absent[mask], view, exposure)
        return Shadow(mask, float(np.abs(difference).mean()) / exposure.noise)


__all__ = [
    "BLACK",
    "WHOLE",
    "Exposure",
    "Lesion",
    "Projection",
    "Scene",
    "Shadow",
    "develop",
    "film",
]
