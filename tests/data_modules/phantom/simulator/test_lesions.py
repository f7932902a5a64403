from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from data_modules.phantom.simulator.anatomy import draw_anatomy
from data_modules.phantom.simulator.findings import PROFILES, Aspect, draw_profiles
from data_modules.phantom.simulator.geometry import VIEWS, Array, View
from data_modules.phantom.simulator.lesions import AREAS, DECIDED, Placed, place
from data_modules.phantom.simulator.render import Exposure, Lesion, Scene

Drawn = tuple[Scene, tuple[Placed, ...]]


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    """A hundred and fifty studies with the profiles in their usual shares."""
    result = []
    for index, profile in enumerate(draw_profiles(np.random.default_rng(5), 150)):
        rng = np.random.default_rng([5, index])
        exposures: dict[View, Exposure] = {
            view: Exposure(float(rng.uniform(0.85, 1.18)), float(rng.uniform(2.5, 4.0)))
            for view in VIEWS
        }
        scene = Scene(draw_anatomy(rng), exposures)
        result.append((scene, place(rng, scene, profile.findings)))
    return result


def with_aspect(item: Placed, aspect: Aspect) -> list[View]:
    return [view for view in VIEWS if aspect in item.decided[view]]


def without(scene: Scene, placed: tuple[Placed, ...], removed: list[Lesion], view: View) -> Array:
    """Noiseless change of grey levels, rendered anew with and without some lesions."""
    everything = [lesion for item in placed for lesion in item.lesions]
    kept = [lesion for lesion in everything if all(lesion is not gone for gone in removed)]
    return scene.clean(view, everything) - scene.clean(view, kept)


def test_shown_means_three_sigma_over_the_footprint(drawn: list[Drawn]) -> None:
    checked = 0
    for scene, placed in drawn:
        for item in placed:
            for view in VIEWS:
                change = without(scene, placed, list(item.lesions), view)
                mask = item.shadows[view].mask
                contrast = np.abs(change[mask]).mean() / scene.exposures[view].noise
                assert contrast == pytest.approx(item.shadows[view].contrast)
                assert (contrast >= DECIDED) == (view in item.shown)
                if view not in item.shown:
                    continue
                # A shown finding changes the image inside its footprint most, and mostly there.
                changed = np.abs(change)
                assert changed[~mask].max(initial=0.0) < 0.8 * changed.max()
                assert changed[mask].sum() > 0.5 * changed.sum()
                checked += 1
    assert checked > 200


def test_decisions_keep_a_margin(drawn: list[Drawn]) -> None:
    contrasts = np.array(
        [item.shadows[v].contrast for _, placed in drawn for item in placed for v in VIEWS]
    )
    near = np.abs(contrasts - DECIDED) < 0.5
    assert near.mean() < 0.01
    for _, placed in drawn:
        for item in placed:
            for view in with_aspect(item, "size"):
                small, large = AREAS[item.finding.kind, view]
                area = item.shadows[view].mask.sum()
                lungs = len(item.finding.sides) if view == "frontal" else 1
                if item.finding.size == "small":
                    assert area <= small * lungs
                else:
                    assert area >= large * lungs
    assert all(small * 1.1 < large for small, large in AREAS.values())


def test_every_finding_shows_somewhere_and_about_one_in_five_on_one_view_only(
    drawn: list[Drawn],
) -> None:
    views = [len(item.shown) for _, placed in drawn for item in placed]
    assert min(views) >= 1
    assert 0.12 <= np.mean(np.array(views) == 1) <= 0.28


def test_zone_is_where_the_footprint_lies(drawn: list[Drawn]) -> None:
    heights: dict[str, list[float]] = {"upper": [], "middle": [], "lower": []}
    for _, placed in drawn:
        for item in placed:
            for view in with_aspect(item, "zone"):
                rows = np.nonzero(item.shadows[view].mask)[0]
                heights[item.finding.zone].append(float(rows.mean()))
    means = {zone: np.mean(rows) for zone, rows in heights.items()}
    assert means["upper"] + 12 < means["middle"] < means["lower"] - 12


def test_counted_nodules_are_separate_spots(drawn: list[Drawn]) -> None:
    several = [item for _, placed in drawn for item in placed if item.finding.count > 1]
    assert len(several) >= 10
    for item in several:
        assert len(item.lesions) == item.finding.count
        for view in with_aspect(item, "count"):
            assert label(item.shadows[view].mask)[1] == item.finding.count


def test_nodules_stay_smaller_than_masses() -> None:
    radii: dict[tuple[str, str], list[float]] = {}
    for index, profile in enumerate(PROFILES):
        if len(profile.findings) == 1 and profile.findings[0].kind in ("nodule", "mass"):
            rng = np.random.default_rng([6, index])
            scene = Scene(draw_anatomy(rng), {view: Exposure(1.0, 3.0) for view in VIEWS})
            (item,) = place(rng, scene, profile.findings)
            key = (item.finding.kind, item.finding.size)
            radii.setdefault(key, []).extend(x.tissue[0].axes[0] for x in item.lesions)
    assert max(radii["nodule", ""]) < 0.8 * min(radii["mass", "small"])
    assert max(radii["mass", "small"]) < 0.85 * min(radii["mass", "large"])
