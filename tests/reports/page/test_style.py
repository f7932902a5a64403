from __future__ import annotations

import re
from importlib import resources

import pytest

from amif_lightning.reports.render.figures import PALETTE

STYLE = (resources.files("amif_lightning.reports.page") / "style.css").read_text(encoding="utf-8")
TEXTS = ("ink", "quiet", "link", "alarm", "yes", "no", "open")
LINES = ("bar", "baseline", "control", "ceiling")


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_formula() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_have_enough_contrast(scheme: int) -> None:
    """WCAG level AA: 4.5 for text, 3 for graphics."""
    block = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))
    for ground in ("paper", "card"):
        for name in TEXTS:
            assert contrast(colours[name], colours[ground]) >= 4.5, name
        for name in LINES:
            assert contrast(colours[name], colours[ground]) >= 3, name
    assert contrast(colours["alarm"], colours["alarm-paper"]) >= 4.5
    assert contrast(colours["ink"], colours["bar"]) >= 3


def test_figures_have_the_colours_of_the_light_page() -> None:
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", STYLE.split("@media")[0]))
    for name, colour in PALETTE.items():
        assert colour == light[name], name
