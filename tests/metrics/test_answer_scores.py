"""Word overlap and calibration: closed forms, references, and torchmetrics without downloads."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from amif_lightning.metrics.answer_scores import calibration_error, word_overlap


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        # token F1, token recall, BLEU-1, ROUGE-L
        ("left lung", ["left lung"], (1, 1, 1, 1)),
        ("left lung", ["right kidney"], (0, 0, 0, 0)),
        ("", ["left lung"], (0, 0, 0, 0)),
        ("in the left lung", ["left lung"], (2 / 3, 1, 1 / 2, 2 / 3)),
        ("lung", ["left lung"], (2 / 3, 1 / 2, 0.36788, 2 / 3)),  # exp(1 - 2) for brevity
        ("lung left", ["left lung"], (1, 1, 1, 1 / 2)),  # only ROUGE-L sees the order
        ("lung lung", ["lung mass"], (1 / 2, 1 / 2, 1 / 2, 1 / 2)),  # a word counts once
        ("ct", ["magnetic resonance", "ct"], (1, 1, 1, 1)),  # the best reference
        ("左肺", ["左肺"], (1, 1, 1, 1)),
    ],
    ids=str,
)
def test_overlaps_have_closed_forms(
    answer: str, references: Sequence[str], expected: tuple[float, ...]
) -> None:
    found = word_overlap(answer, references)
    assert list(found) == ["token_f1", "token_recall", "bleu_1", "rouge_l"]
    assert tuple(found.values()) == pytest.approx(expected, abs=1e-5)
    assert "nltk" not in sys.modules  # it would download its sentence splitter


@pytest.mark.parametrize(
    ("probabilities", "correct", "expected"),
    [
        ([1.0, 1.0], [True, True], 0.0),
        ([1.0, 1.0], [True, False], 0.5),
        ([0.0], [True], 1.0),
        # Bins 0.2-0.3 (mean 0.25, half right) and 0.9-1.0 (mean 0.95, none right).
        ([0.22, 0.28, 0.95, 0.95], [True, False, False, False], (0.25 + 0.95) / 2),
    ],
    ids=str,
)
def test_the_calibration_error_has_closed_forms(
    probabilities: list[float], correct: list[bool], expected: float
) -> None:
    assert calibration_error(probabilities, correct) == pytest.approx(expected)
