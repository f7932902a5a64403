"""Sheets of pre-training: all of what they are given is on them, and can be read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from amif_lightning.callbacks.alignment_sheets import (
    Negative,
    WordMap,
    negatives_sheet,
    neighbours,
    plans_sheet,
    similarity_sheet,
)
from amif_lightning.callbacks.drawing import coloured

SIDE = 120
CENTRES = np.array([0.25, 0.75])
REPORT = "There is a small nodule in the left upper zone. No effusion is seen."


def image(level: int = 70) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (level, level, level))


def distinct(sheet: Image.Image) -> int:
    return len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0))


def test_equal_findings_become_neighbours() -> None:
    assert neighbours([5, 3, 5, 9, 3, 5]) == [0, 2, 5, 1, 4, 3]
    assert neighbours([4]) == [0]


def test_similarities_stand_beside_the_labels() -> None:
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-1, 1, (8, 8))
    student, labels = (values / values.sum(1, keepdims=True) for values in rng.random((2, 8, 8)))
    groups = [0, 0, 1, 1, 1, 2, 3, 3]
    three = similarity_sheet(cosines, student, labels, "Teacher", groups, 160)
    two = similarity_sheet(cosines, None, labels, "Teacher", groups, 160)
    assert distinct(three) > 50
    assert two.width < three.width
    # The labels keep their own cells, and share the scale of the student's distribution.
    most = max(student.max(), labels.max())
    row = np.asarray(three)[36 + 6 + 6 + 10]
    for values in (cosines - cosines.min()) / np.ptp(cosines), student / most, labels / most:
        cells = [tuple(colour) for colour in coloured(values[0])]
        drawn = "".join("x" if tuple(p) == cells[0] else " " for p in row)
        start = next(
            (
                place
                for place in range(len(drawn))
                if all(tuple(row[min(place + 20 * k, len(row) - 1)]) == cells[k] for k in range(8))
            ),
            None,
        )
        assert start is not None


def test_every_word_of_every_study_has_its_map() -> None:
    left = WordMap("left", np.array([0.1, 0.0, 0.1, 0.0]))
    corner = WordMap("effusion", np.array([0.0, 0.0, 0.0, 0.05]))
    sheet = plans_sheet(
        [(image(), REPORT, [left, corner]), (image(90), REPORT, [left])], CENTRES, 2
    )
    assert distinct(sheet) > 50
    pixels = np.asarray(sheet).astype(int)
    warm = pixels[..., 0] - pixels[..., 2] > 60
    top = pixels.shape[0] - 2 * (SIDE + 18 + 2 * 18)  # two rows below the headline
    first = 2 * SIDE + 18  # where the heat maps begin
    maps = [warm[top + 6 : top + 6 + SIDE, first + 6 + k * (SIDE + 12) :][:, :SIDE] for k in (0, 1)]
    half = SIDE // 2
    assert maps[0][:, : half // 2].mean() > 0.9  # the left half, by half as hot a colour
    assert maps[0][:, -half // 2 :].mean() < 0.1
    assert maps[1][-half // 2 :, -half // 2 :].mean() > 0.9
    assert maps[1][: half // 2].mean() < 0.1
    # The second study has one word: its second place stays empty paper.
    empty = pixels[top + SIDE + 60 :, first + SIDE + 20 : first + 2 * SIDE + 20]
    assert (empty == 255).all()


def test_maps_share_one_scale() -> None:
    spread = WordMap("spread", np.full(4, 0.25))
    point = WordMap("point", np.array([1.0, 0.0, 0.0, 0.0]))
    alone = np.asarray(plans_sheet([(image(), REPORT, [spread])], CENTRES, 1))
    beside = np.asarray(plans_sheet([(image(), REPORT, [spread, point])], CENTRES, 2))
    middle = (alone.shape[0] - 60 - SIDE // 2, 2 * SIDE + 18 + 6 + SIDE // 2)
    place = (beside.shape[0] - 60 - SIDE // 2, middle[1])
    assert alone[middle].astype(int).sum() > beside[place].astype(int).sum() + 100


@pytest.mark.parametrize("changed", ["own", "drawn", "own_similarity", "drawn_similarity"])
def test_every_part_of_a_negative_is_drawn(changed: str) -> None:
    given = {"own": REPORT, "drawn": "Clear.", "own_similarity": 0.5, "drawn_similarity": 0.25}
    other = given | {changed: 0.75 if "similarity" in changed else "The heart is enlarged."}
    plain, second = (
        np.asarray(negatives_sheet([Negative(image=image(), **parts)]))  # type: ignore[arg-type]  # mixed dict
        for parts in (given, other)
    )
    assert plain.shape == second.shape
    assert (plain != second).any()


def test_long_reports_keep_the_cards_equal() -> None:
    long = Negative(image(), REPORT * 20, REPORT * 20, 0.5, 0.4)
    short = Negative(image(), "", "a", 0.5, 0.4)
    assert negatives_sheet([long, short]).size == negatives_sheet([short, short]).size
