from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.reports.retrieval_groups import collect_searches
from amif_lightning.reports.retrieval_verdict import search_verdict


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
        rf"\(95 % interval \+{number} to \+{number}\) above chance \(8\.3 %\)\.$"
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
