from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.render.figures import BLUE, GREEN, LEFT, PLOT, WIDTH, draw

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_and_marks_stand_where_the_counts_say(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in range(3):
        write_run(seed, experiment="a<b&c")
    (group,) = groups = collect(tmp_path)
    root = ElementTree.fromstring(draw(groups))
    bars = [r for r in root.iter(f"{SVG}rect") if r.get("fill") == BLUE and r.get("x") == str(LEFT)]
    assert len(bars) == 1
    assert float(bars[0].get("width", 0)) == pytest.approx(PLOT * float(group.accuracy()), abs=0.06)
    ceilings = [
        float(line.get("x1", 0))
        for line in root.iter(f"{SVG}line")
        if line.get("stroke") == GREEN and float(line.get("x1", 0)) < LEFT + PLOT
    ]
    assert ceilings.count(LEFT + PLOT * 0.75) >= 1
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "VQARAD osf [clean, test]: a<b&c, 3 seeds" in texts
    assert "overall (n = 300)" in texts
    assert any(text.startswith("Too few questions for a bar: type size") for text in texts)
    assert not any(text.startswith("type size (n") for text in texts)


def test_nothing_leaves_the_image(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0, protocol="literature", untrained=True, control=None, ceiling=None)
    write_run(0, experiment="other", predictions=False)
    root = ElementTree.fromstring(draw(collect(tmp_path)))
    height = float(root.get("height", 0))
    for line in root.iter(f"{SVG}line"):
        assert 0 <= float(line.get("x1", -1)) <= float(line.get("x2", -1)) <= WIDTH
        assert 0 <= float(line.get("y1", -1)) <= height
        assert float(line.get("y2", -1)) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("y", -1)) <= height
    titles = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert "literature (test answers visible)" in titles
    assert "UNTRAINED" in titles
