"""The regions of findings that the tests of localisation ask for."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.phantom.read import Footprints, read_studies
from data_modules.phantom.regions import NAMES, Regions
from data_modules.phantom.studies import PhantomStudies
from tests.tasks.study_small import phantom_studies

DENIALS = {"no", "not", "without", "neither", "nor", "negative"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudies:
    made = phantom_studies(tmp_path_factory.mktemp("regions") / "phantom", test_studies=40)
    made.prepare_data()
    return made


def test_every_shown_finding_has_a_region_and_no_other(data: PhantomStudies) -> None:
    regions, seen = Regions(Path(data.root)), 0
    for study in read_studies(data.root):
        for image in study.images:
            found = regions.of(f"Phantom/{study.study_id}", f"Phantom/{image.path}")
            expected = [
                finding.kind
                for finding, views in zip(study.findings, study.shown_on, strict=True)
                if image.view in views
            ]
            assert sorted(region.kind for region in found) == sorted(expected)
            for region in found:
                assert region.mask.any()
                assert not region.mask.all()
                seen += 1
    assert seen > 20


def test_a_region_is_the_footprint_of_its_own_finding(data: PhantomStudies) -> None:
    """Of the same view and finding; two findings of one image keep apart."""
    regions, stored, several = Regions(Path(data.root)), Footprints(data.root), 0
    for study in read_studies(data.root):
        for image in study.images:
            found = regions.of(f"Phantom/{study.study_id}", f"Phantom/{image.path}")
            shown = [
                one
                for one in stored.of(study.study_id, image.view)
                if image.view in study.shown_on[one.finding]
            ]
            several += len(shown) > 1
            for region, one in zip(found, shown, strict=True):
                assert region.kind == study.findings[one.finding].kind == one.kind
                assert (region.mask == one.mask).all()
    assert several > 2


def test_a_region_lies_on_its_finding_s_side_of_the_frontal_image(data: PhantomStudies) -> None:
    """The patient's left is on the right of the image; upper is above lower."""
    regions, sides = Regions(Path(data.root)), dict.fromkeys(("left", "right"), 0)
    heights: dict[str, list[float]] = {"upper": [], "middle": [], "lower": []}
    for study in read_studies(data.root):
        kinds = {str(finding.kind): finding for finding in study.findings}
        frontal = study.images[0]
        assert frontal.view == "frontal"
        for region in regions.of(f"Phantom/{study.study_id}", f"Phantom/{frontal.path}"):
            finding = kinds[region.kind]
            rows, columns = region.mask.nonzero()
            if finding.side in sides:
                middle = (columns.mean() + 0.5) / region.mask.shape[1]
                assert (middle > 0.5) == (finding.side == "left"), (study.study_id, finding)
                sides[finding.side] += 1
            if finding.zone:
                heights[finding.zone].append(float(rows.mean()))
    assert min(sides.values()) > 5
    upper, middle, lower = (sum(found) / len(found) for found in heights.values())
    assert upper < middle < lower


def pixels(data: PhantomStudies, path: str) -> np.ndarray:
    with Image.open(Path(data.root) / path) as image:
        return np.asarray(image.convert("L"), dtype=float)


def test_the_image_is_brighter_in_a_region_than_images_without_a_finding_there(
    data: PhantomStudies,
) -> None:
    """Of solid kinds; air is darker. Other studies' regions of the kind are the control."""
    regions, studies = Regions(Path(data.root)), read_studies(data.root)
    normal = [pixels(data, study.images[0].path) for study in studies if not study.findings]
    assert normal
    usual = np.mean(normal, axis=0)
    gaps: dict[str, list[float]] = {}
    for study in studies:
        frontal = study.images[0].path
        for region in regions.of(f"Phantom/{study.study_id}", f"Phantom/{frontal}"):
            image = pixels(data, frontal)
            assert image.shape == region.mask.shape
            around = np.median((image - usual)[~region.mask])
            inside = float((image - usual)[region.mask].mean() - around)
            gaps.setdefault(region.kind, []).append(inside)
    means = {kind: float(np.mean(found)) for kind, found in gaps.items() if len(found) > 2}
    assert means.pop("pneumothorax", -1.0) < 0
    assert len(means) >= 3
    assert all(mean > 0 for mean in means.values()), means


def test_every_report_names_its_findings_and_no_word_names_two_of_them(
    data: PhantomStudies,
) -> None:
    for study in read_studies(data.root):
        sentences = re.split(r"[.;!?]", study.report.lower())
        said = [set(re.findall(r"[a-z]+", sentence)) for sentence in sentences]
        affirmed = set().union(*(words for words in said if not words & DENIALS))
        kinds = {finding.kind for finding in study.findings}
        for kind in kinds:
            assert affirmed & NAMES[kind], (kind, study.report)
        for kind, other in combinations(sorted(kinds), 2):
            assert not affirmed & NAMES[kind] & NAMES[other], (kind, other, study.report)


def test_the_data_module_gives_them_and_the_words(data: PhantomStudies) -> None:
    assert data.region_words() is NAMES
    row = next(
        row
        for row in data.rows("test")
        if row.finding and data.regions(row.study_id, row.images[0].image_id)
    )
    (region, *_) = data.regions(row.study_id, row.images[0].image_id)
    words = set(row.text.lower().replace(",", " ").replace(".", " ").split())
    assert words & NAMES[region.kind]


def test_negatives_are_of_other_findings_and_near(data: PhantomStudies) -> None:
    fixed = data.fixed_negatives("test")
    rows = data.rows("test")
    vectors = {
        f"Phantom/{s.study_id}": torch.tensor(s.vector).float() for s in read_studies(data.root)
    }
    vectors = {name: vector / vector.norm() for name, vector in vectors.items()}
    assert fixed.hard is not None
    for own, (random, hard) in enumerate(zip(fixed.random, fixed.hard, strict=True)):
        assert rows[own].finding != rows[random].finding
        mine = vectors[rows[own].study_id]
        near = float(mine @ vectors[rows[hard].study_id])
        others = [
            float(mine @ vectors[row.study_id]) for row in rows if row.finding != rows[own].finding
        ]
        assert near == pytest.approx(max(others), abs=1e-4)
    # Whatever the teacher, and in every process.
    again = phantom_studies(data.root, test_studies=40, teacher="none")
    assert again.fixed_negatives("test") == fixed
