"""What the TensorBoard images share: cards of images with text, colours, matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Colour = tuple[int, int, int]
Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

INK, GREY, PAPER = (20, 20, 20), (120, 120, 120), (255, 255, 255)
MARGIN, LINE, LETTERS = 6, 18, 14  # pixels
_BAR = 14  # width of a colour bar

# Ten colours of the ramp "inferno" (Smith and van der Walt, CC0): its brightness rises evenly, so
# it also reads without colour.
_RAMP = np.array(
    [
        (0x00, 0x00, 0x04),
        (0x1B, 0x0C, 0x42),
        (0x4B, 0x0C, 0x6B),
        (0x78, 0x1C, 0x6D),
        (0xA5, 0x2C, 0x60),
        (0xCF, 0x44, 0x46),
        (0xED, 0x69, 0x25),
        (0xFB, 0x9A, 0x06),
        (0xF7, 0xD0, 0x3C),
        (0xFC, 0xFF, 0xA4),
    ],
    dtype=np.float64,
)


def letters() -> Font:
    """The font of all images."""
    return ImageFont.load_default(size=LETTERS)


def shown(image: Tensor, side: int) -> Image.Image:
    """A network's input as an image.

    Args:
        image: (3, H, W) float, normalised in any way: shown from its own least to greatest value.
        side: Side of the image in pixels.
    """
    pixels = image.detach().float().cpu()
    # Per channel: normalisation differs between channels, and a grey image must stay grey.
    low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)
    scaled = ((pixels - low) / (high - low).clamp(min=1e-6) * 255).byte()
    return Image.fromarray(scaled.permute(1, 2, 0).numpy()).resize((side, side))


def wrap(text: str, font: Font, width: int, max_lines: int) -> list[str]:
    """Break a text into lines that fit; one that needs more lines ends in three dots.

    Args:
        text: The text; white space is collapsed.
        font: What it is drawn with.
        width: Pixels of a line.
        max_lines: Most lines.
    """
    lines = [""]
    for word in text.split():
        # A word that is wider than a whole line is broken between letters.
        pieces = [word] if font.getlength(word) <= width else list(word)
        for place, piece in enumerate(pieces):
            blank = " " if place == 0 and lines[-1] else ""
            if font.getlength(f"{lines[-1]}{blank}{piece}") <= width:
                lines[-1] += blank + piece
            else:
                lines.append(piece)
    if len(lines) > max_lines:
        lines = lines[:max_lines]
        while font.getlength(f"{lines[-1]}...") > width:
            lines[-1] = lines[-1][:-1]
        lines[-1] += "..."
    return lines


def card(
    image: Image.Image, texts: Sequence[tuple[str, int, Colour]], beside: int | None = None
) -> Image.Image:
    """An image with texts below it, or on its right.

    Args:
        image: The image.
        texts: Each text with the most lines that it may take and its colour. Cards of equal most
            lines are of one size.
        beside: Width in pixels of texts on the right; None puts them below.
    """
    font = letters()
    width, height = image.size
    rows = sum(max_lines for _, max_lines, _ in texts)
    lines = [
        (line, ink)
        for text, max_lines, ink in texts
        for line in wrap(text, font, width if beside is None else beside, max_lines)
    ]
    if beside is None:
        size = (width + 2 * MARGIN, height + 3 * MARGIN + rows * LINE)
        left, top = MARGIN, height + 2 * MARGIN
    else:
        size = (width + beside + 3 * MARGIN, max(height, rows * LINE) + 2 * MARGIN)
        left, top = width + 2 * MARGIN, MARGIN
    made = Image.new("RGB", size, PAPER)
    made.paste(image, (MARGIN, MARGIN))
    draw = ImageDraw.Draw(made)
    for row, (line, ink) in enumerate(lines):
        draw.text((left, top + LINE * row), line, fill=ink, font=font)
    return made


def contact_sheet(cards: Sequence[Image.Image], columns: int = 4) -> Image.Image:
    """At least one card, all of one size, in rows of ``columns``."""
    width, height = cards[0].size
    columns = min(columns, len(cards))
    sheet = Image.new("RGB", (columns * width, -(-len(cards) // columns) * height), PAPER)
    for place, one in enumerate(cards):
        sheet.paste(one, (place % columns * width, place // columns * height))
    return sheet


def stacked(parts: Sequence[Image.Image], *, across: bool = False) -> Image.Image:
    """Images of any size one below the other, or one beside the other.

    Args:
        parts: At least one image.
        across: Whether they stand beside each other.
    """
    widths, heights = [part.width for part in parts], [part.height for part in parts]
    size = (sum(widths), max(heights)) if across else (max(widths), sum(heights))
    sheet = Image.new("RGB", size, PAPER)
    at = 0
    for part in parts:
        sheet.paste(part, (at, 0) if across else (0, at))
        at += part.width if across else part.height
    return sheet


def headline(text: str, width: int) -> Image.Image:
    """A text across a sheet, in as many lines as it needs."""
    font = letters()
    lines = wrap(text, font, width - 2 * MARGIN, 100)
    made = Image.new("RGB", (width, len(lines) * LINE + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(made)
    for row, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + LINE * row), line, fill=INK, font=font)
    return made


def coloured(values: Array) -> Pixels:
    """Colours (..., 3) of numbers from 0 (nearly black) to 1 (light yellow); others are cut off."""
    place = np.clip(values, 0.0, 1.0) * (len(_RAMP) - 1)
    steps = np.arange(len(_RAMP))
    channels = [np.interp(place, steps, _RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def colour_bar(height: int, low: str, high: str, pixels: Pixels | None = None) -> Image.Image:
    """A bar of all colours, the least below, with what its ends stand for.

    Args:
        height: Its height in pixels.
        low: The number of the lower end.
        high: The number of the upper end.
        pixels: (height, 3) colours from top to bottom; None takes those of :func:`coloured`.
    """
    font = letters()
    if pixels is None:
        pixels = coloured(np.linspace(1.0, 0.0, height))
    bar = Image.fromarray(np.repeat(pixels[:, None], _BAR, axis=1))
    width = _BAR + 3 * MARGIN + int(max(font.getlength(low), font.getlength(high)))
    made = Image.new("RGB", (width, height), PAPER)
    made.paste(bar, (MARGIN, 0))
    draw = ImageDraw.Draw(made)
    draw.text((_BAR + 2 * MARGIN, 0), high, fill=INK, font=font)
    draw.text((_BAR + 2 * MARGIN, height - LINE), low, fill=INK, font=font)
    return made


def matrix_panel(
    values: Array, groups: Sequence[int], title: str, side: int, low: float, high: float
) -> Image.Image:
    """A square matrix as coloured cells with a title, marks of groups and a scale.

    Args:
        values: (G, G) numbers.
        groups: G group numbers; equal neighbours share a mark along the upper and the left edge.
        title: What is shown, at max_lines two lines.
        side: About the side of the matrix in pixels.
        low: The number of the darkest colour.
        high: The number of the lightest.
    """
    cell = max(1, side // len(values))
    pixels = coloured((values - low) / max(high - low, 1e-12))
    cells = Image.fromarray(pixels.repeat(cell, axis=0).repeat(cell, axis=1))
    turns = np.cumsum([0, *(a != b for a, b in zip(groups[1:], groups[:-1], strict=True))])
    marks = np.where(turns[:, None] % 2 == 0, np.array(INK), np.array((190, 190, 190)))
    strip = np.repeat(np.repeat(marks.astype(np.uint8), cell, axis=0)[None], MARGIN, axis=0)
    bar = colour_bar(cells.height, f"{low:.2f}", f"{high:.2f}")
    head = 2 * LINE + MARGIN
    size = (cells.width + 3 * MARGIN + bar.width, head + cells.height + 3 * MARGIN)
    made = Image.new("RGB", size, PAPER)
    made.paste(Image.fromarray(strip), (2 * MARGIN, head))
    made.paste(Image.fromarray(strip.transpose(1, 0, 2)), (MARGIN, head + MARGIN))
    made.paste(cells, (2 * MARGIN, head + MARGIN))
    made.paste(bar, (2 * MARGIN + cells.width, head + MARGIN))
    draw, font = ImageDraw.Draw(made), letters()
    lines = wrap(title, font, size[0] - 2 * MARGIN, 2)
    for row, line in enumerate(lines, start=2 - len(lines)):
        draw.text((MARGIN, MARGIN // 2 + LINE * row), line, fill=INK, font=font)
    return made
