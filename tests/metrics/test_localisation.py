"""Localisation of plans that are written by hand, and how much of a patch a region covers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amif_lightning.evaluation import Region
from amif_lightning.metrics.localisation import covered, found_regions, localised
from amif_lightning.models.words import Word

NAMES = {"mass": frozenset({"mass"}), "effusion": frozenset({"effusion", "fluid"})}
HALVES = np.array([0.25, 0.75])  # two rows and columns of patches
WORDS = [Word(text, (place,)) for place, text in enumerate(["large", "Mass", "left", "fluid"])]
PLAN = np.array(
    [
        [0.4, 0.0, 0.0, 0.0],
        [0.3, 0.1, 0.0, 0.0],
        [0.0, 0.0, 0.1, 0.1],
        [0.0, 0.0, 0.0, 0.0],  # of a sentence that denies it
    ]
)


def corner(row: int, column: int) -> np.ndarray:
    mask = np.zeros((8, 8), dtype=bool)
    mask[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = True
    return mask


def test_the_words_of_a_finding_are_measured_in_its_region() -> None:
    found = found_regions(
        PLAN, WORDS, [Region("mass", corner(0, 0))], NAMES, HALVES, np.random.default_rng(0)
    )
    (one,) = found
    assert (one.kind, one.area) == ("mass", 0.25)
    assert one.mass == pytest.approx([0.75, 0.25, 0, 0])
    assert one.shares == pytest.approx([1, 0, 0, 0])


def test_denied_words_neither_name_nor_serve_as_the_other_word() -> None:
    regions = [Region("effusion", corner(1, 1)), Region("mass", corner(0, 0))]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (one,) = found_regions(PLAN, WORDS, regions, NAMES, HALVES, rng)
        assert one.kind == "mass"
        expected = ([1, 0, 0, 0], [0, 0, 0.5, 0.5])  # `large` or `left`
        assert any(one.other == pytest.approx(row) for row in expected)


def test_a_report_without_another_word_has_no_control() -> None:
    regions = [Region("mass", corner(0, 0))]
    (one,) = found_regions(PLAN, WORDS[1:2], regions, NAMES, HALVES, np.random.default_rng(0))
    assert not one.other.any()


def test_an_empty_region_is_left_out() -> None:
    regions = [Region("mass", np.zeros((8, 8), dtype=bool))]
    assert found_regions(PLAN, WORDS, regions, NAMES, HALVES, np.random.default_rng(0)) == []


def test_findings_are_compared_with_those_of_other_studies_of_the_same_kind() -> None:
    mass = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0.5, 0.5]]).double()
    other = torch.tensor([[0, 0, 0, 1.0], [0.0, 0, 0, 0], [0.25] * 4]).double()
    shares = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0], [0, 1.0, 0.5, 0]]).double()
    area = torch.tensor([0.25, 0.25, 0.375]).double()
    found = localised([0, 4, 4], ["mass", "mass", "fluid"], area, mass, other, shares)
    assert [one.position for one in found] == [0, 4, 4]
    assert [one.inside for one in found] == [1.0, 0.0, 0.25]
    assert [one.other_word for one in found] == [0.0, None, 0.375]
    # The masses are measured in each other's region; the only fluid has no partner.
    assert [one.elsewhere for one in found] == [0.0, 0.0, None]


def test_a_finding_of_the_same_study_is_no_control() -> None:
    mass = torch.full((2, 4), 0.25).double()
    found = localised([3, 3], ["mass", "mass"], torch.ones(2).double(), mass, mass, mass)
    assert [one.elsewhere for one in found] == [None, None]


EVEN = (np.arange(4) + 0.5) / 4


@pytest.mark.parametrize("centres", [EVEN, np.array([0.5, 32.5, 64.5, 96.5]) / 112])
def test_coverage_is_counted_by_the_nearest_centre(centres: np.ndarray) -> None:
    mask = np.zeros((112, 112), dtype=bool)
    mask[20:61, 3:90] = True
    mask[100:, 100:] = True
    inside, size = np.zeros((4, 4)), np.zeros((4, 4))
    fine = 2  # borders lie on half pixels at most
    for row in range(112 * fine):
        for column in range(112 * fine):
            places = [(at + 0.5) / (112 * fine) for at in (row, column)]
            cell = tuple(int(np.abs(centres - place).argmin()) for place in places)
            size[cell] += 1
            inside[cell] += mask[row // fine, column // fine]
    assert covered(mask, centres) == pytest.approx((inside / size).ravel())
    assert covered(np.ones((112, 112), dtype=bool), centres) == pytest.approx(np.ones(16))
