from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.records.retrieval import Ranking, StudyLine, studies_path
from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.schema import write_lines
from amif_lightning.reports.render.verdicts import search_verdict
from tests.reports.conftest import KS, search_record_for


@pytest.fixture
def judge(write_search: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    def sentence(seeds: int = 2, **changes: Any) -> str:
        for seed in range(seeds):
            write_search(seed, **changes)
        (group,) = collect_searches(tmp_path)
        text = search_verdict(group)
        assert "\n" not in text
        assert text.endswith(".")
        assert text.count("(") == text.count(")")
        return text

    return sentence


def test_above_chance(judge: Callable[..., str]) -> None:
    text = judge(skill=2.0)
    head = (
        "Phantom 112px [retrieval, test], full, 2 seeds: evidence that image and text were "
        "aligned: precision@5 "
    )
    assert text.startswith(head)
    number = r"\d+\.\d"
    pattern = (
        rf"precision@5 {number} % \(95 % interval {number}-{number}\) is {number} points "
        rf"\(95 % interval \+{number} to \+{number}\) above chance \(8\.3 %\) and {number} "
        r"points above the best list that is the same for every query \(8\.3 %\)\.$"
    )
    assert re.search(pattern, text)


def test_chance_is_no_evidence(judge: Callable[..., str]) -> None:
    text = judge(skill=0.0)
    assert "no evidence that image and text were aligned" in text
    assert "is not above chance (8.3 %; difference " in text


def test_below_chance_is_said_loudly(judge: Callable[..., str]) -> None:
    text = judge(skill=-3.0)
    assert "no evidence that image and text were aligned" in text
    assert "BELOW chance" in text


def test_without_lines_there_is_no_verdict(judge: Callable[..., str], tmp_path: Path) -> None:
    text = judge(lines=False)
    assert f"no verdict, for {tmp_path}" in text
    assert "studies-test.jsonl is missing" in text
    assert "evidence" not in text


def test_few_studies_give_no_verdict(judge: Callable[..., str]) -> None:
    text = judge(studies=29)
    assert "no verdict: 29 studies were searched" in text
    assert "%" not in text


def test_untrained_weights_are_marked(judge: Callable[..., str]) -> None:
    assert "1 seed: UNTRAINED WEIGHTS; " in judge(seeds=1, untrained=True)


def hubs() -> list[StudyLine]:
    """A search that gives every query the same studies, those of a class of 12 among 60."""
    lines = []
    for place in range(60):
        often = place < 12
        found = Ranking(
            precision=dict.fromkeys(KS, float(often)), recall={k: float(place < k) for k in KS}
        )
        lines.append(
            StudyLine(
                study_id=f"study{place}",
                group=f"patient{place}",
                relevant=12 if often else 4,
                image_to_text=found,
                text_to_image=found,
                zero_shot=False,
            )
        )
    return lines


def test_a_search_that_looks_at_no_query_is_no_evidence(tmp_path: Path) -> None:
    """Frequent findings lift it above a random order all the same."""
    lines = hubs()
    for seed in range(2):
        folder = tmp_path / f"seed{seed}"
        write_lines(studies_path(folder, "test"), lines)
        write_record(record_path(folder, "test"), search_record_for(lines, seed))
    (group,) = collect_searches(tmp_path)
    assert group.constant == Fraction(12, 60) == group.mean()
    assert group.above_chance.interval is not None
    assert group.above_chance.interval.low > 0
    text = search_verdict(group)
    assert "no evidence that image and text were aligned" in text
    assert "but not above the best list that is the same for every query (20.0 %)." in text
