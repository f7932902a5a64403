"""Figures for TensorBoard and ``answer --explain``: cards, heat maps, matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # matplotlib is imported only to draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
INK, GREY, RIGHT, WRONG = "#141414", "#787878", "#006e28", "#b41414"
_DPI = 100
_MARGIN, _LINE, _LETTER = 10, 15, 7.05  # pixels; a letter of the fixed-width font takes 7
_SHARES = (
    "A map shows the share of its total in each cell, on one scale for all maps. Peak: the "
    "greatest share; even: the share in a uniform map."
)
_FONT: dict[str, Any] = {"family": "monospace", "size": 8, "parse_math": False}


@dataclass(frozen=True)
class Card:
    """An image with texts below it, or texts alone."""

    texts: tuple[tuple[str, int, str], ...] = ()  # text, maximum number of lines, colour
    image: NDArray[np.floating[Any]] | None = None  # (3, H, W) network input
    heat: Array | None = None  # (g, g), not negative, drawn over the image
    centres: Array | None = None  # (g,) of the heat's cells, see `enlarged`
    region: NDArray[np.bool_] | None = None  # (H, W) mask to outline
    columns: int = 1  # width of the texts in cards

    @property
    def lines(self) -> int:
        """Maximum number of lines."""
        return sum(max_lines for _, max_lines, _ in self.texts)


@dataclass(frozen=True)
class HeatMap:
    """Where a word is sent by a transport plan, or what an answer depends on."""

    title: str
    mass: Array  # (g * g,) on the cells, row by row, not negative
    centres: Array  # (g,) of the cells' rows and columns, see `enlarged`
    region: NDArray[np.bool_] | None = None  # (H, W) mask of the finding that a word names


def displayed(image: NDArray[np.floating[Any]]) -> Array:
    """Scale a normalised network input (3, H, W) to (H, W, 3) from 0 to 1."""
    # Per channel, like the normalisation, so that a grey image stays grey.
    low, high = image.min((1, 2), keepdims=True), image.max((1, 2), keepdims=True)
    scaled: Array = ((image - low) / np.maximum(high - low, 1e-6)).transpose(1, 2, 0)
    return scaled


def enlarged(grid: Array, centres: Array, side: int) -> Array:
    """Interpolate a grid (g, g) to (side, side) pixels: bilinear, constant beyond outer centres.

    ``centres`` (g,) are the centres of the patches' rows and columns as shares of the side.
    """
    at = (np.arange(side) + 0.5) / side
    weights = np.stack([np.interp(at, centres, unit) for unit in np.eye(len(centres))], axis=1)
    heat: Array = weights @ grid @ weights.T
    return heat


def cards_figure(rows: Sequence[Sequence[Card]], side: int, note: str = "") -> Figure:
    """Draw rows of cards; all heat maps share one scale, shown at the right.

    Args:
        rows: At least one card.
        side: Side of each image in pixels.
        note: Caption above the cards.
    """
    from matplotlib.figure import Figure

    cards = [card for row in rows for card in row]
    hottest = max((float(card.heat.max()) for card in cards if card.heat is not None), default=0.0)
    below = max((card.lines for card in cards if card.image is not None), default=0)
    texts = max((card.lines for card in cards if card.image is None), default=0)
    tall = max(side + below * _LINE, texts * _LINE) + 2 * _MARGIN
    wide = side + _MARGIN
    width = _MARGIN + wide * max(sum(card.columns for card in row) for row in rows)
    width += 90 if hottest else 0
    head = wrap(note, int((width - 2 * _MARGIN) / _LETTER))
    first = _LINE * len(head) + _MARGIN
    height = first + tall * len(rows)
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI)
    # Coordinates are pixels from the upper left corner.
    axes = figure.add_axes((0, 0, 1, 1))
    for number, line in enumerate(head):
        _write(axes, _MARGIN, _MARGIN + _LINE * number, line, INK)
    for number, row in enumerate(rows):
        left = _MARGIN
        for card in row:
            top = first + number * tall
            if card.image is not None:
                _image(axes, card, (left, left + side, top + side, top), hottest)
                top += side + _MARGIN // 2
            letters = int((wide * card.columns - _MARGIN) / _LETTER)
            for text, max_lines, colour in card.texts:
                for line in wrap(text, letters, max_lines=max_lines, placeholder="..."):
                    _write(axes, left, top, line, colour)
                    top += _LINE
            left += wide * card.columns
    if hottest:  # the colours over middle grey
        place = (width - 80, width - 66, first + side, first)
        axes.imshow(np.full((1, 1, 3), 0.4), extent=place)
        axes.imshow(_colours(np.linspace(1, 0, 256)[:, None]), extent=place)
        _write(axes, width - 60, first, f"{hottest:.0%}", INK)
        _write(axes, width - 60, first + side - _LINE, "0%", INK)
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def maps_figure(
    samples: Sequence[tuple[NDArray[np.floating[Any]], str, Sequence[HeatMap]]],
    side: int,
    note: str,
) -> Figure:
    """Draw one row per sample: image, text and heat maps.

    ``samples``, at least one, are images (3, H, W) with their text and at least one map. ``note``
    is the caption, which explains the maps' colours; ``side`` is that of each image in pixels.
    """
    rows = []
    for image, text, maps in samples:
        # The text is as high as a map with its two lines.
        row = [Card(image=image), Card(((text, 2 + side // _LINE, INK),))]
        for one in maps:
            share = one.mass / max(float(one.mass.sum()), 1e-12)
            peak = f"peak {float(share.max()):.0%}, even {1 / len(share):.1%}"
            grid = share.reshape(len(one.centres), len(one.centres))
            texts = ((one.title, 1, INK), (peak, 1, GREY))
            row.append(Card(texts, image, grid, one.centres, one.region))
        rows.append(row)
    return cards_figure(rows, side, f"{note} {_SHARES}")


def matrices_figure(
    panels: Sequence[tuple[str, Array, tuple[float, float]]], groups: Sequence[int], side: int
) -> Figure:
    """Draw square matrices of images (rows) and reports (columns) next to each other.

    Args:
        panels: Title, (G, G) values, and the values of the darkest and the lightest colour.
        groups: G numbers, equal for equal findings; equal neighbours get a frame.
        side: Side of each matrix in pixels.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    size = (len(panels) * 1.3 * side / _DPI, (side + 90) / _DPI)
    figure = Figure(size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (title, values, (low, high)) in zip(axes, panels, strict=True):
        drawn = place.imshow(values, cmap="inferno", vmin=low, vmax=high)
        figure.colorbar(drawn, ax=place, shrink=0.8)
        place.set_title("\n".join(wrap(title, side // 8)), size=9)
        place.set(xticks=[], yticks=[])
        for group in dict.fromkeys(groups):
            start, count = groups.index(group), groups.count(group)
            if count > 1:
                corner = (start - 0.5, start - 0.5)
                place.add_patch(Rectangle(corner, count, count, fill=False, ec="cyan", lw=1.5))
    note = (
        "Rows are images, columns are reports, both in the same order: the diagonal has the own "
        "pairs. A frame: studies with equal findings."
    )
    figure.supxlabel("\n".join(wrap(note, int(len(panels) * side / 5.5))), size=9)
    return figure


def _write(axes: Axes, left: float, top: float, line: str, colour: str) -> None:
    axes.text(left, top, line, color=colour, va="top", **_FONT)


def _image(
    axes: Axes,
    card: Card,
    place: tuple[float, float, float, float],
    hottest: float,
) -> None:
    """Draw a card's image, heat map and region at (left, right, bottom, top)."""
    assert card.image is not None
    left, right, bottom, top = place
    axes.imshow(displayed(card.image), extent=place)
    if card.heat is not None:
        assert card.centres is not None
        heat = enlarged(card.heat, card.centres, card.image.shape[1]) / max(hottest, 1e-12)
        axes.imshow(_colours(heat), extent=place)
    if card.region is not None and card.region.any():
        down, across = (np.clip((np.arange(n + 2) - 0.5) / n, 0, 1) for n in card.region.shape)
        x, y = left + (right - left) * across, top + (bottom - top) * down
        axes.contour(x, y, np.pad(card.region.astype(float), 1), [0.5], colors="cyan")


def _colours(heat: Array) -> Array:
    """Map values from 0 (transparent) to 1 to colours with opacity (..., 4)."""
    from matplotlib import colormaps

    # The colour map begins almost black, which on a radiograph would look like lung.
    colours: Array = np.asarray(colormaps["inferno"](0.25 + 0.75 * heat))
    # Rises fast from 0, so that low values are visible.
    colours[..., 3] = 0.8 * heat * (2 - heat)
    return colours
