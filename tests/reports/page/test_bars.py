from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.reports.analysis.groups import Group, collect
from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.page.bars import Bars, answer_bars, search_bars
from amif_lightning.reports.records.study_scores import JUDGED
from amif_lightning.reports.render.comparisons import compare
from amif_lightning.reports.render.retrieval_comparisons import compare_searches

Writer = Callable[..., Path]


def drawn(folder: Path, *baselines: str) -> tuple[dict[str, Group], Bars]:
    groups = collect(folder)
    bars = answer_bars(groups, compare(groups, baselines), baselines)
    return {group.name: group for group in groups}, bars


def test_bars_stand_where_the_counts_say_and_the_baseline_first(
    write_run: Writer, tmp_path: Path
) -> None:
    for seed in range(2):
        write_run(seed, experiment="base", accuracy=0.5)
        write_run(seed, experiment="a", accuracy=0.7)
    groups, bars = drawn(tmp_path, "base")
    assert [(bar.name, bar.baseline) for bar in bars.bars] == [("base", True), ("a", False)]
    for bar in bars.bars:
        group = groups[bar.name]
        span = group.interval()
        assert span is not None
        assert bar.end == pytest.approx(100 * float(group.accuracy()), abs=0.006)
        assert (bar.low, bar.high) == pytest.approx((100 * span.low, 100 * span.high), abs=0.006)
        assert bar.seeds == pytest.approx([correct / 3 for correct in group.correct()], abs=0.006)
        levels = {mark.kind: mark.at for mark in bar.marks}
        control = sum(group.control() or []) / 6
        floor = group.first.floors.question_only["overall"].correct / 3
        expected = {"baseline": floor, "control": control, "ceiling": 75.0}
        assert levels == pytest.approx(expected, abs=0.006)
    assert bars.marks[2] == ("ceiling", "ceiling of the candidates")


def test_differences_are_those_of_the_comparison(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="base", accuracy=0.4)
    write_run(0, experiment="better", accuracy=0.7)
    groups, bars = drawn(tmp_path, "base")
    (row,) = [r for r in compare(list(groups.values()), ["base"]).rows if r[5] == "overall"]
    base, better = bars.bars
    assert base.difference is None
    assert better.difference is not None
    assert better.difference.text == f"{row[6]} ({row[7]})"
    gap = 100 * float(groups["better"].accuracy() - groups["base"].accuracy())
    assert better.difference.at == pytest.approx(50 + 50 * gap / bars.reach, abs=0.01)
    assert better.difference.low is not None
    assert better.difference.high is not None
    assert 50 < better.difference.low < better.difference.at < better.difference.high <= 100


def test_without_a_baseline_there_are_no_differences(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="b")
    write_run(0, experiment="a", control=None, ceiling=None, predictions=False)
    _, bars = drawn(tmp_path)
    assert bars.baseline == ""
    assert [(bar.name, bar.difference) for bar in bars.bars] == [("a", None), ("b", None)]
    assert [mark.kind for mark in bars.bars[0].marks] == ["baseline"]


def test_few_questions_have_a_sentence_instead(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, images=4, per_image=5)
    _, bars = drawn(tmp_path, "vqa-rad")
    assert bars.bars == ()
    assert bars.baseline == ""
    assert bars.remarks[0].startswith("vqa-rad: too few questions for a bar, ")
    assert bars.remarks[0].endswith(" of 20 right.")


def test_searches(write_search: Writer, tmp_path: Path) -> None:
    for seed in range(2):
        write_search(seed, experiment="full", skill=2.0)
        write_search(seed, experiment="part", skill=0.5)
    write_search(0, experiment="tiny", studies=24)
    groups = collect_searches(tmp_path)
    bars = search_bars(groups, compare_searches(groups, ["full"]), ["full"])
    assert [bar.name for bar in bars.bars] == ["full", "part"]
    assert bars.remarks == ("tiny: too few studies for a bar (24).",)
    end = float(bars.ticks[-1][1].removesuffix(" %"))
    for bar, group in zip(bars.bars, groups, strict=False):
        assert bar.end == pytest.approx(10000 * float(group.mean()) / end, abs=0.006)
        levels = {mark.name: mark.at * end / 10000 for mark in bar.marks}
        assert levels == pytest.approx(
            {
                "chance": float(group.chance()),
                "same list for every query": float(group.constant or 0),
                "best possible": group.first.ceiling[JUDGED],
            },
            abs=1e-4,
        )
    worse = bars.bars[1].difference
    assert worse is not None
    assert worse.high is not None
    assert worse.high < 50
