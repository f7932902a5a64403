"""Figures of scores: positions of bars and marks, labels, and equal bytes on every run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

import amif_lightning
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.render.comparisons import compare
from amif_lightning.reports.render.figures import PALETTE, Chart, comparison, draw, svg
from tests.reports.conftest import Writer, answers_in, searches_in

SVG = "{http://www.w3.org/2000/svg}"


class Drawn:
    """Words and marks of an SVG; ``share`` turns a place of the first axis into a share."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        self.width, self.height = (float(self.root.get(k, 0)) for k in ("width", "height"))
        self.texts = [
            (str(t.text), float(t.get("x", -1)), float(t.get("y", -1)))
            for t in self.root.iter(f"{SVG}text")
        ]
        ticks = [(float(w.removesuffix(" %")), x) for w, x, _ in self.texts if _is_tick(w)]
        (low, self.left), (high, right) = ticks[0], ticks[5]
        self.unit = (right - self.left) / (high - low)

    @property
    def words(self) -> list[str]:
        return [words for words, _, _ in self.texts]

    def share(self, x: float) -> float:
        return (x - self.left) / self.unit / 100

    def bars(self) -> list[float]:
        """Ends of the bars, without the legend's."""
        found = []
        for path in self.root.iter(f"{SVG}path"):
            if f"fill: {PALETTE['bar']}" in path.get("style", ""):
                xs = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path.get("d", ""))]
                if min(xs) == pytest.approx(self.left):
                    found.append(self.share(max(xs)))
        return found

    def marks(self, name: str) -> list[float]:
        """Places of the marks of a colour, those of the legend first."""
        uses = [
            u
            for u in self.root.iter(f"{SVG}use")
            if f"stroke: {PALETTE[name]}" in str(u.get("style"))
        ]
        return [self.share(float(use.get("x", 0))) for use in uses]


def _is_tick(words: str) -> bool:
    return re.fullmatch(r"\d+ %", words) is not None


def has(marks: list[float], share: float) -> bool:
    return any(mark == pytest.approx(share, abs=1e-4) for mark in marks)


def test_bars_and_marks_of_answers_are_at_their_counts(write_run: Writer, tmp_path: Path) -> None:
    for seed in range(3):
        write_run(seed, experiment="a<b&c $x$")
    (group,) = groups = answers_in(tmp_path)
    drawn = Drawn(draw(groups))
    large = [s for s in group.subsets if group.count(s) >= 30]
    assert drawn.bars() == pytest.approx([group.mean(s) for s in large], abs=1e-4)
    assert has(drawn.marks("control"), group.level("control") or 0)
    assert has(
        drawn.marks("baseline"), group.first.baselines.question_only["overall"].correct / 300
    )
    assert has(drawn.marks("ceiling"), 0.75)
    span = group.interval()
    assert span is not None
    for share in (span.low, span.high, *(right / 300 for right in group.right())):
        assert has(drawn.marks("ink"), share)
    assert "VQARAD osf [clean, test]: a<b&c $x$, 3 seeds" in drawn.words
    assert "overall (n = 300)" in drawn.words
    assert any(words.startswith("Too few questions for a bar: type size") for words in drawn.words)
    assert not any(words.startswith("type size (n") for words in drawn.words)


def test_bars_and_marks_of_retrieval_are_at_their_scores(
    write_search: Writer, tmp_path: Path
) -> None:
    for seed in range(3):
        write_search(seed, experiment="full", studies=36)
    (group,) = searches = searches_in(tmp_path)
    drawn = Drawn(draw([], searches))
    assert "60 %" in drawn.words  # 3 of 36 are relevant: no order reaches more than 3 of 5
    assert "100 %" not in drawn.words
    assert drawn.bars() == pytest.approx([group.mean()], abs=1e-4)
    assert has(drawn.marks("baseline"), 1 / 12)
    assert has(drawn.marks("ceiling"), 0.6)
    assert has(drawn.marks("control"), group.level("control") or 0)
    assert "Phantom 112px [retrieval, test], n = 36" in drawn.words
    assert "full, 3 seeds" in drawn.words


def test_panels_are_in_order_and_inside_the_figure(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    write_run(0, protocol="literature", untrained=True, control=None, ceiling=None)
    write_run(0, experiment="other", predictions=False)
    long = "pretrain-phantom-without_any_transport_of_words"
    write_search(0, experiment=long)
    write_search(0, experiment="hard", lines=False)
    write_search(0, experiment="few", studies=12, dataset="ROCO", untrained=True)
    drawn = Drawn(draw(answers_in(tmp_path), searches_in(tmp_path)))
    order = [
        "Accuracy",
        "VQARAD osf [clean, test]: other, 1 seed",
        "VQARAD osf [literature (test answers visible), test]: vqa-rad, 1 seed, UNTRAINED",
        "Image-text retrieval: precision@5, mean over both directions",
        "Phantom 112px [retrieval, test], n = 60",
        "hard, 1 seed",
        f"{long}, 1 seed",
        "ROCO 112px [retrieval, test], n = 12",
        "Too few studies for a bar: few (UNTRAINED), 1 seed: 12",
    ]
    places = {words: y for words, _, y in drawn.texts}
    assert [places[words] for words in order] == sorted(places[words] for words in order)
    for words, x, y in drawn.texts:
        ends_at_x = words == f"{long}, 1 seed"
        assert 0 <= x - (7 * len(words) if ends_at_x else 0) <= drawn.width, words
        assert 0 <= y <= drawn.height, words


# ---- the page's charts --------------------------------------------------------------------------


def answers(folder: Path, *baselines: str) -> Chart:
    groups = answers_in(folder)
    return comparison(groups, compare(groups, baselines), baselines)


def test_the_baseline_is_first_and_differences_are_those_of_the_comparison(
    write_run: Writer, tmp_path: Path
) -> None:
    name = "base <x>"
    write_run(0, experiment=name, accuracy=0.4)
    write_run(0, experiment="a", accuracy=0.7)
    chart = answers(tmp_path, "missing", name)
    groups = answers_in(tmp_path)
    (row,) = [r for r in compare(groups, [name]).table.rows if r[5] == "overall"]
    base, better = chart.panels[0].bars
    assert (chart.baseline, base.name, base.gap) == (name, name, None)
    assert better.difference == f"{row[6]} ({row[7]})"
    drawn = Drawn(svg('A "title"', [chart]))
    assert f"{name} (baseline)" in drawn.words
    assert better.difference in drawn.words
    # The description replaces the figure for readers who do not see it.
    assert (drawn.root.get("role"), drawn.root.get("aria-label")) == ("img", 'A "title"')
    assert drawn.root.findtext(f"{SVG}title") == 'A "title"'
    description = str(drawn.root.findtext(f"{SVG}desc"))
    assert f"{name}: {base.text}, question-only baseline " in description
    assert f"minus {name} {better.difference} points." in description
    places = {words: x for words, x, _ in drawn.texts}
    (reach,) = [int(w[1:-7]) for w in places if w.endswith(" points")]
    unit = (places[f"+{reach} points"] - places["0"]) / reach
    uses = [float(use.get("x", 0)) for use in drawn.root.iter(f"{SVG}use")]
    assert better.gap is not None
    assert better.gap.span is not None
    for share in (float(better.gap.value), better.gap.span.low, better.gap.span.high):
        assert any(x == pytest.approx(places["0"] + 100 * share * unit, abs=0.01) for x in uses)


def test_without_a_baseline_there_are_no_differences(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="b")
    write_run(0, experiment="a", control=None, ceiling=None, predictions=False)
    chart = answers(tmp_path)
    assert chart.baseline == ""
    assert [(bar.name, bar.gap) for bar in chart.panels[0].bars] == [("a", None), ("b", None)]
    assert list(chart.panels[0].bars[0].levels) == ["baseline"]
    assert not any(words.endswith("points") for words in Drawn(svg("Two", [chart])).words)


def test_small_sets_have_a_note_instead_of_a_bar(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    write_run(0, images=4, per_image=5)
    chart = answers(tmp_path, "vqa-rad")
    assert (chart.panels[0].bars, chart.baseline) == ([], "")
    assert re.search(r"Too few questions for a bar: vqa-rad: \d+ of 20", svg("None", [chart]))
    write_search(0, experiment="full")
    write_search(0, experiment="tiny", studies=24)
    groups = searches_in(tmp_path)
    (panel,) = comparison(groups, compare(groups, ["full"]), ["full"]).panels
    assert [bar.name for bar in panel.bars] == ["full"]
    assert panel.note == "Too few studies for a bar: tiny: 24"
    assert panel.bars[0].levels == pytest.approx(
        {
            "baseline": groups[0].level("baseline"),
            "control": groups[0].level("control"),
            "ceiling": groups[0].first.ceiling[JUDGED],
        }
    )


def test_a_figure_in_the_page_takes_its_colours_and_needs_no_id_of_its_neighbours(
    write_run: Writer, tmp_path: Path
) -> None:
    write_run(0)
    one, other = (svg(title, [answers(tmp_path)], inline=True) for title in ("One", "Other"))
    assert one.startswith("<svg")
    assert "<style" not in one
    assert (
        set(re.findall(r"#[0-9a-f]{3,8}\b", re.sub(r'href="#\w+"|url\(#\w+\)', "", one))) == set()
    )
    assert "fill: var(--bar)" in one
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])


# ---- bytes and imports --------------------------------------------------------------------------

_PROGRAM = """
import sys
from pathlib import Path
import amif_lightning
from tests.reports.conftest import answers_in
from amif_lightning.reports.page import page
from amif_lightning.reports.render.figures import draw
assert "matplotlib" not in sys.modules, "before a figure is drawn"
text = draw(answers_in(Path(sys.argv[1])))
assert "matplotlib.pyplot" not in sys.modules, "global state"
sys.stdout.buffer.write(text.encode())
"""


def test_two_processes_write_the_same_bytes_and_import_matplotlib_to_draw_only(
    write_run: Writer, tmp_path: Path
) -> None:
    for seed in range(2):
        write_run(seed)
    texts = []
    for salt in ("1", "2"):
        environment: Any = {"PYTHONPATH": str(Path(amif_lightning.__file__).parents[1])}
        command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
        done = subprocess.run(
            command, capture_output=True, env=os.environ | environment | {"PYTHONHASHSEED": salt}
        )
        assert done.returncode == 0, done.stderr.decode()
        texts.append(done.stdout)
    assert texts[0] == texts[1]
    assert texts[0].startswith(b"<?xml")
    assert b"<dc:date" not in texts[0]
