"""The verdict of a configuration: what its intervals allow to claim, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.reports.records.retrieval import Ranking, StudyLine, studies_path
from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.schema import write_lines
from amif_lightning.reports.render.verdicts import verdict
from tests.reports.conftest import KS, answers_in, search_record_for, searches_in


def checked(text: str) -> str:
    assert "\n" not in text
    assert text.endswith(".")
    assert text.count("(") == text.count(")")
    return text


@pytest.fixture
def judge(write_run: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    def sentence(seeds: int = 3, **changes: Any) -> str:
        for seed in range(seeds):
            write_run(seed, **changes)
        (group,) = answers_in(tmp_path)
        return checked(verdict(group))

    return sentence


@pytest.fixture
def judge_search(write_search: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    def sentence(seeds: int = 2, **changes: Any) -> str:
        for seed in range(seeds):
            write_search(seed, **changes)
        (group,) = searches_in(tmp_path)
        return checked(verdict(group))

    return sentence


def test_above_both(judge: Callable[..., str]) -> None:
    text = judge(accuracy=0.6, control=0.4, baseline=0.4)
    head = "VQARAD osf [clean, test], vqa-rad, 3 seeds: evidence that the images were used: "
    assert text.startswith(head)
    assert " above the question-only baseline (" in text
    assert " above the same network with shuffled images (" in text
    assert "not above" not in text


def test_a_strong_score_equal_to_its_control_is_no_evidence(judge: Callable[..., str]) -> None:
    text = judge(accuracy=0.6, control=0.6, baseline=0.3)
    assert "no evidence that the images were used" in text
    assert "not above the same network with shuffled images" in text
    assert "not above the question-only baseline" not in text


def test_above_the_control_alone(judge: Callable[..., str]) -> None:
    text = judge(accuracy=0.6, control=0.3, baseline=0.62)
    assert "the images change the answers, but do not lift them above not looking" in text
    assert "not above the question-only baseline" in text


def test_below_the_baseline_is_said_loudly(judge: Callable[..., str]) -> None:
    text = judge(accuracy=0.2, control=0.2, baseline=0.5)
    assert "no evidence that the images were used" in text
    assert "BELOW the question-only baseline" in text


def test_without_control_nothing_is_claimed(judge: Callable[..., str]) -> None:
    text = judge(control=None)
    assert "whether the images were used is not shown" in text
    assert "no shuffled-image control was run" in text


def test_without_lines_of_the_baseline_it_is_a_fixed_number(judge: Callable[..., str]) -> None:
    text = judge(baseline=None)
    assert "the baseline taken as fixed" in text


def test_without_predictions_there_is_no_verdict(judge: Callable[..., str], tmp_path: Path) -> None:
    text = judge(predictions=False)
    assert f"no verdict, for {tmp_path}" in text
    assert "predictions-test.jsonl is missing" in text


def test_few_images_give_no_verdict(judge: Callable[..., str]) -> None:
    assert "no verdict, for the images are too few" in judge(images=9, per_image=20)


def test_few_questions_give_counts_alone(judge: Callable[..., str]) -> None:
    text = judge(images=29, per_image=1)
    assert "no verdict" in text
    assert "of 29 questions are right" in text
    assert "%" not in text


def test_labels_that_must_not_be_lost(judge: Callable[..., str]) -> None:
    text = judge(seeds=1, protocol="literature", untrained=True)
    assert text.startswith("VQARAD osf [literature (test answers visible), test], vqa-rad, 1 seed:")
    assert "UNTRAINED WEIGHTS" in text


# ---- searches ---------------------------------------------------------------------------------


def test_above_chance(judge_search: Callable[..., str]) -> None:
    text = judge_search(skill=2.0)
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


def test_chance_is_no_evidence(judge_search: Callable[..., str]) -> None:
    text = judge_search(skill=0.0)
    assert "no evidence that image and text were aligned" in text
    assert "is not above chance (8.3 %; difference " in text


def test_below_chance_is_said_loudly(judge_search: Callable[..., str]) -> None:
    text = judge_search(skill=-3.0)
    assert "no evidence that image and text were aligned" in text
    assert "BELOW chance" in text


def test_without_lines_of_studies_no_verdict(
    judge_search: Callable[..., str], tmp_path: Path
) -> None:
    text = judge_search(lines=False)
    assert f"no verdict, for {tmp_path}" in text
    assert "studies-test.jsonl is missing" in text
    assert "evidence" not in text


def test_few_studies_give_no_verdict(judge_search: Callable[..., str]) -> None:
    text = judge_search(studies=29)
    assert "no verdict: 29 studies were searched" in text
    assert "%" not in text


def test_untrained_searches_are_marked(judge_search: Callable[..., str]) -> None:
    assert "1 seed: UNTRAINED WEIGHTS; " in judge_search(seeds=1, untrained=True)


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
    (group,) = searches_in(tmp_path)
    assert group.level("control") == pytest.approx(12 / 60) == group.mean()
    above = group.above("baseline")
    assert above is not None
    assert above.span is not None
    assert above.span.low > 0
    text = verdict(group)
    assert "no evidence that image and text were aligned" in text
    assert "but not above the best list that is the same for every query (20.0 %)." in text
