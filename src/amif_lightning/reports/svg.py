"""What the pictures of both kinds share: sizes, colours and the elements of an SVG document."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

# Sizes in pixels of the picture.
LEFT, PLOT, RIGHT = 275, 520, 125
ROW, BAR, HEAD, AXIS = 26, 14, 34, 34
WIDTH = LEFT + PLOT + RIGHT

# Two blues light enough for marks on top of them; orange and green after Okabe and Ito, which stay
# apart for readers with colour-vision deficiencies (and the marks differ in shape besides).
BLUE, SKY, ORANGE, GREEN = "#5BA3D0", "#B3D7EE", "#D55E00", "#009E73"
INK, GREY = "#222222", "#DDDDDD"


def document(title: str, body: Sequence[str], height: float) -> str:
    """An SVG document that needs no fonts or files beside it."""
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" '
            f'viewBox="0 0 {WIDTH} {height:g}" font-family="sans-serif" font-size="12" '
            f'fill="{INK}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height:g}" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal", size: int = 12
) -> str:
    """Words that start, end or centre (``anchor``) at a point."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="{size}">{escape(words)}</text>'
    )


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str,
    *,
    width: float = 1.0,
    dashed: bool = False,
) -> str:
    """A straight line."""
    dashes = ' stroke-dasharray="4 2"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def whiskers(low: float, high: float, y: float) -> list[str]:
    """An interval along x at the height ``y``."""
    ends = [line(x, y - 4, x, y + 4, INK, width=1.5) for x in (low, high)]
    return [line(low, y, high, y, INK, width=1.5), *ends]


def bar(width: float, y: float, colour: str) -> str:
    """A bar from the left end of the plot, centred on the height ``y``."""
    return (
        f'<rect x="{LEFT}" y="{y - BAR / 2:.1f}" width="{width:.1f}" height="{BAR}" '
        f'fill="{colour}"/>'
    )


def circle(x: float, y: float, colour: str, radius: float = 4) -> str:
    """A white dot with a coloured edge."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="white" stroke="{colour}" '
        f'stroke-width="2"/>'
    )
