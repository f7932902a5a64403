"""Figures of images: texts that fit, heat where the number is, and every number in its cell."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from amif_lightning.callbacks.image_figures import (
    INK,
    RIGHT,
    WRONG,
    Card,
    HeatMap,
    cards_figure,
    displayed,
    enlarged,
    maps_figure,
    matrices_figure,
)

SIDE = 160
EVEN = (np.arange(4) + 0.5) / 4
LONG = "Is there a small nodule in the left upper zone of this posteroanterior radiograph? " * 9
IMAGE = np.random.default_rng(0).normal(size=(3, 32, 32))


def boxes(figure: Figure) -> list[tuple[str, Any]]:
    """Each line of text with its box in pixels."""
    renderer: Any = FigureCanvasAgg(figure).get_renderer()
    return [(text.get_text(), text.get_window_extent(renderer)) for text in figure.axes[0].texts]


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_texts_fit_below_their_image_and_beside_it() -> None:
    long = ((LONG, 3, INK), (f"{'m' * 90} end", 2, WRONG))
    cards = [Card(long, IMAGE), Card(((LONG, 14, INK),), columns=2), Card(((LONG, 6, RIGHT),))]
    figure = cards_figure([cards, cards], SIDE, LONG)
    width, height = figure.canvas.get_width_height()
    found = boxes(figure)
    for line, box in found:
        assert 0 <= box.x0 <= box.x1 <= width, line
        assert 0 <= box.y0 <= box.y1 <= height, line
    for (_, one), (_, other) in pairwise(found):
        assert not one.padded(-1).overlaps(other.padded(-1))
    images = [image.get_window_extent() for image in figure.axes[0].images]
    assert len(images) == 2
    assert all(box.width == pytest.approx(SIDE) for box in images)
    assert not any(box.padded(-1).overlaps(image) for _, box in found for image in images)
    # A text that needs more lines than it may take ends in dots, and no other one.
    assert sum(line.endswith("...") for line, _ in found) == 2 * 4
    note = [line for line, _ in found][: len(found) - 2 * (3 + 2 + 14 + 6)]
    assert "".join(note).replace(" ", "") == LONG.replace(" ", "")


def test_colours_of_texts() -> None:
    figure = cards_figure([[Card((("yes", 1, RIGHT), ("no", 1, WRONG)), IMAGE)]], SIDE)
    drawn = pixels(figure)[SIDE + 12 :]
    for channel, others in ((0, [1, 2]), (1, [0, 2])):
        assert (drawn[..., channel] - drawn[..., others].max(-1) > 30).sum() > 20


def test_a_grey_image_stays_grey_under_any_normalisation() -> None:
    grey = np.linspace(0, 1, 32 * 32).reshape(1, 32, 32).repeat(3, 0)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3])
    shown = displayed((grey - mean[:, None, None]) / std[:, None, None])
    assert shown == pytest.approx(grey.transpose(1, 2, 0))
    assert (displayed(np.full((3, 8, 8), 7.0)) == 0).all()


# ---- heat maps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("centres", [EVEN, np.array([0.0, 0.3, 0.6, 0.9])])
def test_enlarging_is_bilinear(centres: np.ndarray) -> None:
    grid = np.random.default_rng(0).random((4, 4))
    side = 21
    heat = enlarged(grid, centres, side)
    for row in range(side):
        for column in range(side):
            weights = []
            for place in ((row + 0.5) / side, (column + 0.5) / side):
                at = min(max(place, centres[0]), centres[-1])
                after = int(np.searchsorted(centres, at, side="left").clip(1, 3))
                share = (at - centres[after - 1]) / (centres[after] - centres[after - 1])
                weights.append(((after - 1, 1 - share), (after, share)))
            expected = sum(a * b * grid[i, j] for i, a in weights[0] for j, b in weights[1])
            assert heat[row, column] == pytest.approx(expected)
    assert (enlarged(np.array([[0.3]]), np.array([0.5]), 5) == 0.3).all()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 1)])
def test_the_hot_spot_is_where_the_mass_is(row: int, column: int) -> None:
    mass = np.zeros((4, 4))
    mass[row, column] = 1.0
    even = np.tile(np.linspace(0, 1, 32), (3, 32, 1))
    plain, heated = (
        pixels(cards_figure([[Card(image=even, heat=heat, centres=EVEN)]], SIDE))
        for heat in (np.zeros((4, 4)), mass)
    )
    changed = np.abs(heated[: plain.shape[0], : SIDE + 20] - plain[:, : SIDE + 20]).sum(-1)
    changed = changed[10 : 10 + SIDE, 10 : 10 + SIDE]
    patch = SIDE // 4
    middles = [
        (r, c, changed[r * patch + patch // 2, c * patch + patch // 2])
        for r in range(4)
        for c in range(4)
    ]
    assert max(middles, key=lambda found: found[2])[:2] == (row, column)
    for r, c, change in middles:  # the image itself where nothing is sent
        if max(abs(r - row), abs(c - column)) > 1:
            assert change == 0


def test_a_line_surrounds_the_region_and_nothing_else() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[4:10, 12:20] = True  # up to the image's edge
    drawn = pixels(cards_figure([[Card(image=np.zeros((3, 8, 8)), region=mask)]], 200))
    image = drawn[10:210, 10:210]
    cyan = (image[..., 1] > 128) & (image[..., 0] < 128)
    inner, outer = np.zeros((2, 200, 200), dtype=bool)
    inner[46:94, 126:194] = True
    outer[34:106, 114:200] = True
    assert not cyan[~outer].any()
    assert not cyan[inner].any()
    for edge in (cyan[34:46], cyan[94:106], cyan[:, 114:126], cyan[:, 194:]):
        assert edge.any()


# ---- whole figures ------------------------------------------------------------------------------


def test_every_word_of_every_study_has_its_map_on_one_scale() -> None:
    centres = np.array([0.25, 0.75])
    left = HeatMap("left", np.array([0.1, 0.0, 0.1, 0.0]), centres)
    corner = HeatMap("effusion", np.array([0.0, 0.0, 0.0, 0.05]), centres)
    studies = [(IMAGE, "A nodule.", [left, corner]), (IMAGE, "Clear.", [left])]
    figure = maps_figure(studies, SIDE, "Not for clinical use.")
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    for words_shown in (
        "A nodule.",
        "left",
        "effusion",
        "peak 100%, even 25.0%",
        "clinical use.",
    ):
        assert words_shown in words
    colours = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    *maps, scale = [colour[..., 3] for colour in colours if colour.shape[-1] == 4]
    assert len(maps) == 3
    half = maps[0].shape[0] // 2
    # Half of the word's mass on each left patch; the other word has all of it on one.
    assert maps[0][:, : half // 2] == pytest.approx(0.8 * 0.5 * 1.5)
    assert maps[1][-half // 2 :, -half // 2 :] == pytest.approx(0.8)
    assert maps[0][:, -half // 2 :].max() == maps[1][: half // 2].max() == 0
    assert (scale[0, 0], scale[-1, 0]) == pytest.approx((0.8, 0))
    assert {"0%", "100%"} <= set(words.split())


def test_a_matrix_shows_every_number_and_frames_equal_groups() -> None:
    values = np.array([[0.0, 0.25, 0.5], [0.5, 1.0, 0.75], [0.1, 0.2, 0.9]])
    panels = [("Cosine", values, (-1.0, 1.0)), ("Labels", values / 2, (0.0, 1.0))]
    figure = matrices_figure(panels, [7, 7, 9], 100)
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == ["Cosine", "Labels"]
    for axes, (_, numbers, ends) in zip(shown, panels, strict=True):
        (image,) = axes.images
        assert np.asarray(image.get_array()) == pytest.approx(numbers)
        assert image.get_clim() == ends
        (frame,) = axes.patches
        assert frame.get_window_extent().width > 1.9 * axes.get_window_extent().width / 3
