"""The regions of findings that the tests of localisation ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_modules.phantom.read import read_studies
from data_modules.phantom.regions import NAMES, Regions
from data_modules.phantom.studies import PhantomStudies
from tests.tasks.study_small import phantom_studies


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
