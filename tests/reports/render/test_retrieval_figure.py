from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.render.figures import BLUE, GREEN, INK, LEFT, ORANGE, PLOT, WIDTH, draw

SVG = "{http://www.w3.org/2000/svg}"
Writer = Callable[..., Path]


def test_bars_and_marks_stand_where_the_scores_say(write_search: Writer, tmp_path: Path) -> None:
    for seed in range(3):
        write_search(seed, experiment="a<b&c", studies=36)
    (group,) = searches = collect_searches(tmp_path)
    root = ElementTree.fromstring(draw([], searches))
    scale = PLOT / 0.6  # 3 of 36 are relevant: no order reaches more than 3 of 5
    assert group.first.ceiling[5] == pytest.approx(0.6)
    (bar,) = [r for r in root.iter(f"{SVG}rect") if r.get("fill") == BLUE and r.get("x") != "10.0"]
    assert float(bar.get("width", 0)) == pytest.approx(scale * float(group.mean()), abs=0.06)
    dots = sorted(float(c.get("cx", 0)) for c in root.iter(f"{SVG}circle"))[-3:]
    expected = sorted(LEFT + scale * float(value) for value in group.values())
    assert dots == pytest.approx(expected, abs=0.06)
    lines = [(x.get("stroke"), float(x.get("x1", 0))) for x in root.iter(f"{SVG}line")]
    for colour, place in ((ORANGE, LEFT + scale / 12), (GREEN, LEFT + PLOT)):  # chance, best
        assert any(stroke == colour and abs(x - place) < 0.06 for stroke, x in lines)
    span = group.interval()
    assert span is not None
    ends = [x for stroke, x in lines if stroke == INK]
    assert any(x == pytest.approx(LEFT + scale * span.low, abs=0.06) for x in ends)
    assert any(x == pytest.approx(LEFT + scale * span.high, abs=0.06) for x in ends)
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "Phantom 112px [retrieval, test], n = 36" in texts
    assert "a<b&c, 3 seeds" in texts
    assert "60 %" in texts


def test_both_kinds_stand_below_each_other(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    write_run(0)
    write_search(0)
    write_search(0, experiment="hard", lines=False)
    write_search(0, experiment="few", studies=12, dataset="ROCO", untrained=True)
    answers = collect(tmp_path)
    root = ElementTree.fromstring(draw(answers, collect_searches(tmp_path)))
    height = float(root.get("height", 0))
    for line in root.iter(f"{SVG}line"):
        assert 0 <= float(line.get("x1", -1)) <= float(line.get("x2", -1)) <= WIDTH
        assert 0 <= float(line.get("y1", -1)) <= float(line.get("y2", -1)) <= height
    places = {text.text: float(text.get("y", -1)) for text in root.iter(f"{SVG}text")}
    assert all(0 <= y <= height for y in places.values())
    order = [
        "Accuracy",
        "VQARAD osf [clean, test]: vqa-rad, 1 seed",
        "Image-text retrieval: precision@5, mean over both directions",
        "Phantom 112px [retrieval, test], n = 60",
        "full, 1 seed",
        "hard, 1 seed",
        "ROCO 112px [retrieval, test], n = 12",
        "Too few studies for a bar: few (UNTRAINED) (12)",
    ]
    assert [places[text] for text in order] == sorted(places[text] for text in order)
    # Without searches the image of the answers is what it was.
    alone = ElementTree.fromstring(draw(answers))
    assert "Image-text retrieval" not in ElementTree.tostring(alone, encoding="unicode")


def test_a_long_name_is_written_smaller(write_search: Writer, tmp_path: Path) -> None:
    names = ("pretrain-phantom-without_any_transport_of_words", "full")
    for name in names:
        write_search(0, experiment=name)
    root = ElementTree.fromstring(draw([], collect_searches(tmp_path)))
    sizes = {t.text: float(t.get("font-size", 12)) for t in root.iter(f"{SVG}text")}
    label = f"{names[0]}, 1 seed"
    # A letter of these fonts is about half as wide as it is high.
    assert sizes[label] * 0.55 * len(label) < LEFT
    assert sizes["full, 1 seed"] == 12
