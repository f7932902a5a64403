"""Model cards: the verdict of the records, and what a card states without any."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.inference.load import restore
from amif_lightning.inference.model_card import (
    UNSCORED,
    doubts_of,
    eval_results,
    model_card,
    results_of,
)
from amif_lightning.reports.render.verdicts import verdict
from amif_lightning.tasks.answering.doubts import NO_RECORD
from tests.inference.conftest import Saved
from tests.reports.conftest import write_answers


@pytest.fixture(scope="module")
def space(saved: Saved) -> AnswerSpace:
    found = restore(saved.path, "cpu").space
    assert found is not None
    return found


def checkpoint_of(root: Path, **changes: Any) -> Path:
    return write_answers(root, **changes).parent / "best.ckpt"


def test_a_card_begins_with_metadata_and_the_verdict(space: AnswerSpace, tmp_path: Path) -> None:
    groups = results_of(checkpoint_of(tmp_path))
    card = model_card("me/model", space, groups)
    _, metadata, text = card.split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "library_name": "amif_lightning",
        "pipeline_tag": "visual-question-answering",
        "tags": ["medical", "visual-question-answering", "amif"],
        "datasets": ["flaviagiammarino/vqa-rad"],
    }
    assert text.lstrip().startswith(f"# me/model\n\n**{verdict(groups[0])}**")
    for words in (
        "Not for clinical use",
        f"ranks {len(space.candidates)} fixed",
        'from_pretrained("me/model")',
        "## Results",
        "question-only baseline %",
        "202 of 203 test images also occur in train",
    ):
        assert words in text


def test_a_card_without_results_says_so(space: AnswerSpace, tmp_path: Path) -> None:
    other = checkpoint_of(tmp_path, checkpoint="last.ckpt")  # of other weights
    assert results_of(other) == results_of(tmp_path / "alone.ckpt") == []
    card = model_card("model", replace(space, answers_from="", question_tokens=0), [])
    assert f"**{UNSCORED}**" in card
    assert "(their origin is unknown)" in card
    assert "## Results" not in card


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, None),  # evidence that the images were used
        ({"control": 0.6, "accuracy": 0.4}, "VQARAD osf [clean, test]: no evidence that the imag"),
        ({"control": None}, "VQARAD osf [clean, test]: unknown whether the images were used"),
        ({"untrained": True}, "VQARAD osf [clean, test]: UNTRAINED WEIGHTS; "),
        ({"checkpoint": "last.ckpt"}, NO_RECORD),  # of other weights
        ({"experiment": "broken"}, NO_RECORD),
    ],
)
def test_a_model_is_doubted_unless_its_record_is_evidence(
    saved: Saved, tmp_path: Path, changes: dict[str, Any], start: str | None
) -> None:
    path = checkpoint_of(tmp_path, **changes)
    if changes.get("experiment") == "broken":
        (path.parent / "result-test.json").write_text("{")
    doubts = doubts_of(path)
    assert [doubt.startswith(start or "") for doubt in doubts[:1]] == [True] * (start is not None)
    shutil.copy(saved.path, path)
    assert restore(path, "cpu").doubts == tuple(doubts)


def test_results_of_a_set_on_the_hub_are_its_evaluation_files(tmp_path: Path) -> None:
    groups = results_of(checkpoint_of(tmp_path / "rad"))
    (name, text), *rest = eval_results(groups).items()
    assert (name, rest) == ("vqarad-clean.yaml", [])
    (entry,) = yaml.safe_load(text)
    assert entry["dataset"] == {"id": "flaviagiammarino/vqa-rad", "task_id": "default"}
    assert entry["value"] == round(100 * groups[0].mean(), 2)
    assert "[clean, test]" in entry["notes"]
    for changes in ({"dataset": "Mine"}, {"split": "validation"}):
        assert eval_results(results_of(checkpoint_of(tmp_path / str(changes), **changes))) == {}
