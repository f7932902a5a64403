"""Model cards: the verdict of the records, and what a card states without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.inference.load import restore
from amif_lightning.inference.model_card import UNSCORED, eval_results, model_card, results_of
from amif_lightning.reports.render.verdicts import verdict
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
