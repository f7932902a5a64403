"""What TensorBoard images share: text that fits, sheets that hold everything, true colours."""

from __future__ import annotations

import string

import numpy as np
import pytest
from PIL import Image, ImageFont

from amif_lightning.callbacks.drawing import (
    INK,
    card,
    colour_bar,
    coloured,
    contact_sheet,
    headline,
    matrix_panel,
    stacked,
    wrap,
)

SIDE = 160
FONT = ImageFont.load_default(size=14)
LONG = "Is there a small nodule in the left upper zone of this posteroanterior radiograph? " * 4
IMAGE = Image.new("RGB", (SIDE, SIDE), (90, 20, 20))


@pytest.mark.parametrize(
    "text", ["short", LONG, "a" * 200, f"start {string.ascii_letters * 3} end", ""]
)
def test_lines_fit_and_lose_nothing_but_what_the_dots_stand_for(text: str) -> None:
    lines = wrap(text, FONT, SIDE, 100)
    assert all(FONT.getlength(line) <= SIDE for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    cut = wrap(text, FONT, SIDE, 2)
    assert all(FONT.getlength(line) <= SIDE for line in cut)
    assert len(cut) <= 2
    assert cut[-1].endswith("...") == (len(lines) > 2)


def test_a_sheet_holds_every_card_once() -> None:
    cards = [Image.new("RGB", (10, 20), (level, 0, 0)) for level in (10, 60, 110, 160, 210)]
    sheet = np.asarray(contact_sheet(cards, columns=3))
    assert sheet.shape == (40, 30, 3)
    assert [int(sheet[20 * (k // 3) + 5, 10 * (k % 3) + 5, 0]) for k in range(5)] == [
        10,
        60,
        110,
        160,
        210,
    ]
    assert (sheet[25, 25] == 255).all()


def test_texts_stand_beside_the_image_or_below_it() -> None:
    texts = [("one two three", 2, INK), (LONG, 3, INK)]
    below = np.asarray(card(IMAGE, texts))
    beside = np.asarray(card(IMAGE, texts, beside=200))
    assert below.shape == (SIDE + 18 + 5 * 18, SIDE + 12, 3)
    assert beside.shape == (SIDE + 12, SIDE + 200 + 18, 3)
    for made in (below, beside):
        assert (made[6 : SIDE + 6, 6 : SIDE + 6] == (90, 20, 20)).all()
        assert (made == INK).all(-1).sum() > 100
    # More lines than the image is high make the card higher.
    assert card(IMAGE, [(LONG, 20, INK)], beside=200).height == 20 * 18 + 12


def test_parts_are_stacked_without_losing_any() -> None:
    parts = [Image.new("RGB", size, (0, 0, 9)) for size in ((10, 20), (30, 5))]
    for across, size in ((False, (30, 25)), (True, (40, 20))):
        sheet = stacked(parts, across=across)
        assert sheet.size == size
        assert (np.asarray(sheet) == (0, 0, 9)).all(-1).sum() == 10 * 20 + 30 * 5


def test_a_headline_takes_the_lines_that_it_needs() -> None:
    assert headline("short", 300).size == (300, 18 + 12)
    assert headline(LONG, 300).height == 12 + 18 * len(wrap(LONG, FONT, 288, 100))


def test_brightness_rises_with_the_number() -> None:
    colours = coloured(np.linspace(-0.5, 1.5, 201)).astype(float)
    brightness = colours @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(brightness) >= -0.5).all()  # rounding of the channels
    assert (np.diff(brightness[50:151:10]) > 5).all()
    assert (colours[:51] == colours[0]).all()  # below 0 as at 0
    assert (colours[150:] == colours[-1]).all()


def test_a_bar_shows_all_colours_the_highest_above() -> None:
    bar = np.asarray(colour_bar(100, "0.00", "1.00")).astype(int)
    column = bar[:, 10]
    assert len(np.unique(column, axis=0)) > 50
    assert column[0].sum() > 600
    assert column[-1].sum() < 50


def test_a_matrix_shows_every_number_in_its_cell() -> None:
    values = np.array([[0.0, 0.25, 0.5], [0.5, 1.0, 0.75], [0.1, 0.2, 0.9]])
    panel = np.asarray(matrix_panel(values, [7, 7, 9], "A title", 90, 0.0, 1.0))
    top, left = 2 * 18 + 6 + 6, 2 * 6
    for row in range(3):
        for column in range(3):
            found = panel[top + 30 * row + 15, left + 30 * column + 15]
            assert (found == coloured(values)[row, column]).all()
    # The first two are of one group, the third of another.
    marks = panel[top - 3, left : left + 90]
    assert (marks[:60] == marks[0]).all()
    assert (marks[60:] != marks[0]).all()
    assert (panel[top : top + 90, left - 3] == marks).all()
