from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.render.verdicts import verdict


@pytest.fixture
def judge(write_run: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    def sentence(seeds: int = 3, **changes: Any) -> str:
        for seed in range(seeds):
            write_run(seed, **changes)
        (group,) = collect(tmp_path)
        text = verdict(group)
        assert "\n" not in text
        assert text.endswith(".")
        return text

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


def test_below_the_floor_is_said_loudly(judge: Callable[..., str]) -> None:
    text = judge(accuracy=0.2, control=0.2, baseline=0.5)
    assert "no evidence that the images were used" in text
    assert "BELOW the question-only baseline" in text


def test_without_control_nothing_is_claimed(judge: Callable[..., str]) -> None:
    text = judge(control=None)
    assert "whether the images were used is not shown" in text
    assert "no shuffled-image control was run" in text


def test_without_floor_flags_the_floor_is_a_fixed_number(judge: Callable[..., str]) -> None:
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
