from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules.phantom.simulator import render
from data_modules.phantom.simulator.anatomy import Anatomy, draw_anatomy
from data_modules.phantom.simulator.findings import Finding
from data_modules.phantom.simulator.geometry import (
    FIELD_OF_VIEW,
    IMAGE_SIZE,
    PIXEL,
    VIEWS,
    Array,
    Ellipsoid,
    View,
)
from data_modules.phantom.simulator.lesions import place
from data_modules.phantom.simulator.render import Exposure, Lesion, Projection, Scene, develop, film

EXPOSURES: dict[View, Exposure] = {view: Exposure(1.0, 3.0) for view in VIEWS}
CASES = [
    (),
    (Finding("nodule", "both", count=3),),
    (Finding("mass", "left", "upper", "small"), Finding("effusion", "left", size="small")),
    (Finding("consolidation", "right", "middle", "large"),),
    (Finding("pneumothorax", "left", size="large"), Finding("nodule", "right", "middle")),
    (Finding("cardiomegaly"), Finding("effusion", "both", size="large")),
]


def holds(body: Ellipsoid, points: Array) -> NDArray[np.bool_]:
    offset = points - np.asarray(body.centre)
    level = ((offset @ body.quadric) * offset).sum(axis=-1)
    return np.asarray(level <= 1.0, dtype=np.bool_)


def attenuation(anatomy: Anatomy, lesions: list[Lesion], points: Array) -> Array:
    """The volume itself, point by point: which tissue is there and how much it attenuates."""
    body = holds(anatomy.torso, points)
    for shoulder in anatomy.shoulders:
        body = body | holds(shoulder, points)
    value = render.TISSUE * body
    gas_outside = [anatomy.trachea, *([anatomy.bubble] if anatomy.bubble else [])]
    for gas in gas_outside:
        value = value - render.TISSUE * (1 - render.GAS) * holds(gas, points)
    for bone in anatomy.bones:
        value = value + render.BONE * holds(bone, points)
    shell = holds(anatomy.cage[0], points) & ~holds(anatomy.cage[1], points)
    for rib in anatomy.ribs:
        value = value + render.RIB * (holds(rib, points) & shell)
    heart = next((x.heart for x in lesions if x.heart is not None), anatomy.heart)
    for side, lung in anatomy.lungs.items():
        space = holds(lung.space, points)
        mine = [lesion for lesion in lesions if lesion.side == side]
        solid = holds(lung.dome, points) | holds(anatomy.mediastinum, points)
        solid = solid | holds(heart, points)
        patched = np.zeros_like(solid)
        kept, density = np.ones_like(solid), render.LUNG
        for lesion in mine:
            for tissue in lesion.tissue:
                solid = solid | holds(tissue, points)
            for patch in lesion.patches:
                patched = patched | holds(patch, points)
            if lesion.collapse is not None:
                kept, density = holds(lesion.collapse, points), lesion.density
        relative = np.where(kept, density, render.GAS)
        relative = np.where(patched, render.CONSOLIDATED_LUNG, relative)
        relative = np.where(solid, 1.0, relative)
        value = value - render.TISSUE * (1 - relative) * space
        for vessel in lung.vessels:
            inside = holds(vessel, points) & space & kept
            value = value + render.TISSUE * (1 - render.LUNG) * inside
    return np.asarray(value, dtype=np.float64)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_line_integrals_equal_numeric_integration_of_the_volume(case: int, view: View) -> None:
    rng = np.random.default_rng([7, case])
    anatomy = draw_anatomy(rng)
    scene = Scene(anatomy, EXPOSURES)
    lesions = [x for item in place(rng, scene, CASES[case]) for x in item.lesions]
    exact = Projection(anatomy, view).integral(lesions)
    step = 0.2
    samples = np.arange(-200, 200, step) + step / 2
    half = FIELD_OF_VIEW / 2
    picks = rng.integers(4, IMAGE_SIZE - 4, (60, 2))
    points = np.empty((len(picks), len(samples), 3))
    across = ((picks[:, 1] + 0.5) * PIXEL - half)[:, None]
    points[..., 2] = (half - (picks[:, 0] + 0.5) * PIXEL)[:, None]
    points[..., 0] = across if view == "frontal" else samples[None]
    points[..., 1] = samples[None] if view == "frontal" else -across
    numeric = attenuation(anatomy, lesions, points).sum(axis=1) * step
    assert np.abs(exact[picks[:, 0], picks[:, 1]] - numeric).max() < 0.03
    assert exact.max() > 4


def test_film_follows_beer_lambert() -> None:
    through = np.array([2.0, 3.0, 2.0 + np.log(2.0)])
    grey = film(through, black=0.2)
    darkness = 255.0 - grey
    assert darkness[0] / darkness[2] == pytest.approx(2.0)
    assert darkness[0] == pytest.approx(255 * np.exp(-2.0) / 0.2)
    assert film(np.zeros(1), black=0.2)[0] == 0.0


def test_more_exposure_darkens_and_noise_has_the_stated_sigma() -> None:
    anatomy = draw_anatomy(np.random.default_rng(1))
    low = Scene(anatomy, {view: Exposure(0.9, 3.0) for view in VIEWS}).clean("frontal", ())
    high = Scene(anatomy, {view: Exposure(1.1, 3.0) for view in VIEWS}).clean("frontal", ())
    assert (high <= low).all()
    assert high.mean() < low.mean() - 2
    flat = np.full((IMAGE_SIZE, IMAGE_SIZE), 120.0)
    pixels = develop(flat, Exposure(1.0, 3.0), np.random.default_rng(2)).astype(np.float64)
    assert pixels.std() == pytest.approx(np.hypot(3.0, np.sqrt(1 / 12)), rel=0.03)
    assert pixels.mean() == pytest.approx(120.0, abs=0.1)
