"""Images of what pre-training learned of one batch, made from its numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amif_lightning.callbacks.drawing import (
    GREY,
    INK,
    LINE,
    MARGIN,
    PAPER,
    Array,
    card,
    colour_bar,
    contact_sheet,
    headline,
    matrix_panel,
    stacked,
)
from amif_lightning.callbacks.heat import heat_map, heat_scale, outlined
from amif_lightning.models.patch_grid import square

#: What stands above the sheet of hard negatives.
HARDEST = (
    "The hardest negatives: of the texts drawn for images, those that the student finds nearest to "
    "their image."
)
_DRAWN = (180, 20, 20)
_BESIDE_IMAGE = 6  # most lines of each text of a hard negative


@dataclass(frozen=True)
class WordMap:
    """Where the plan sends one word.

    Attributes:
        word: The word.
        mass: (P,) the plan's mass of the word over the patches, row by row.
        region: (H, W) where the finding that the word names lies; None where that is not known.
    """

    word: str
    mass: Array
    region: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Negative:
    """A text that was drawn for an image.

    Attributes:
        image: The image.
        own: Its own text.
        drawn: The text drawn for it.
        own_similarity: Cosine of image and own text.
        drawn_similarity: Cosine of image and drawn text.
    """

    image: Image.Image
    own: str
    drawn: str
    own_similarity: float
    drawn_similarity: float


def similarity_sheet(
    cosines: Array,
    student: Array | None,
    labels: Array,
    labels_are: str,
    groups: Sequence[int],
    side: int,
) -> Image.Image:
    """The student's similarities beside the labels; studies that say the same are neighbours.

    Args:
        cosines: (G, G) cosines, images in rows.
        student: (G, G) the student's distribution of each image over the texts; None leaves it out.
        labels: (G, G) the labels of the same rows.
        labels_are: What the labels are, as a title.
        groups: G numbers, equal where findings are equal.
        side: About the side of each matrix in pixels.
    """
    # Both distributions under one scale, so that equal colours are equal numbers.
    maximum = max(float(each.max()) for each in (labels, student) if each is not None)
    panels = [
        matrix_panel(
            cosines, groups, "Student: cosine of image and text", side,
            float(cosines.min()), float(cosines.max()),
        )
    ]  # fmt: skip
    if student is not None:
        title = "Student: softmax over the texts of a row"
        panels.append(matrix_panel(student, groups, title, side, 0.0, maximum))
    panels.append(matrix_panel(labels, groups, labels_are, side, 0.0, maximum))
    matrices = stacked(panels, across=True)
    note = (
        "Rows are images, columns are reports, both in the same order: on the diagonal they belong "
        "together. A run of one shade along the edges marks studies with equal findings."
    )
    return stacked([matrices, headline(note, matrices.width)])


def plans_sheet(
    studies: Sequence[tuple[Image.Image, str, Sequence[WordMap]]], centres: Array, columns: int
) -> Image.Image:
    """One row for each study: its image and report, then a heat map for each of its words.

    Args:
        studies: At least one, each a square image, its report and 1 to ``columns`` words.
        centres: (g,) see :func:`amif_lightning.models.patch_grid.patch_centres`.
        columns: Heat maps in a row.
    """
    shares = [
        [word.mass / max(float(word.mass.sum()), 1e-12) for word in words]
        for _, _, words in studies
    ]
    hottest = max(float(share.max()) for row in shares for share in row)
    rows = []
    for (image, report, words), row in zip(studies, shares, strict=True):
        # As many lines of the report as there is room for beside a map and its two lines.
        max_lines = 2 + (image.height + MARGIN) // LINE
        cards = [card(image, [(report, max_lines, INK)], beside=image.width)]
        for word, share in zip(words, row, strict=True):
            over = heat_map(image, square(share), centres, hottest)
            if word.region is not None:
                over = outlined(over, word.region)
            caption = f"{word.word}: {float(word.mass.sum()):.1%} of the plan"
            peak = f"peak {float(share.max()):.0%}, even {1 / len(share):.1%}"
            cards.append(card(over, [(caption, 1, INK), (peak, 1, GREY)]))
        blank = Image.new("RGB", cards[-1].size, PAPER)
        cards += [blank] * (columns - len(words))
        rows.append(stacked(cards, across=True))
    sheet = stacked(rows)
    bar = colour_bar(
        studies[0][0].height, "0 %", f"{hottest:.0%}", heat_scale(studies[0][0].height)
    )
    sheet = stacked([sheet, bar], across=True)
    note = (
        "Where the transport plan sends a word: the share of its mass on each patch, one scale for "
        "all maps. Peak: the greatest share; even: what each patch would get of an even spread. "
        "A line around a region: the finding that the word names lies there."
    )
    return stacked([headline(note, sheet.width), sheet])


def negatives_sheet(negatives: Sequence[Negative], columns: int = 2) -> Image.Image:
    """Images with their own text and the text drawn for them.

    Args:
        negatives: At least one, the hardest first.
        columns: Cards in a row.
    """
    cards = [
        card(
            negative.image,
            [
                (f"own text, cosine {negative.own_similarity:.2f}", 1, GREY),
                (negative.own, _BESIDE_IMAGE, INK),
                (f"drawn text, cosine {negative.drawn_similarity:.2f}", 1, GREY),
                (negative.drawn, _BESIDE_IMAGE, _DRAWN),
            ],
            beside=2 * negative.image.width,
        )
        for negative in negatives
    ]
    sheet = contact_sheet(cards, columns)
    return stacked([headline(HARDEST, sheet.width), sheet])


def neighbours(groups: Sequence[int]) -> list[int]:
    """An order in which equal groups are neighbours: by the first place of each group.

    Args:
        groups: Group of each place.

    Returns:
        The places in that order.
    """
    first: dict[int, int] = {}
    for place, group in enumerate(groups):
        first.setdefault(group, place)
    return sorted(range(len(groups)), key=lambda place: (first[groups[place]], place))
