"""Attention to the vocabulary: entries of answers, measures, means."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from amif_lightning.metrics.vocabulary_use import (
    AnswerEntries,
    Use,
    VocabularyUse,
    gate_means,
    use_of,
)
from amif_lightning.models.knowledge import KnowledgeReading

WORDS = ("left", "right", "mass", "no", "left lung")
CPU = torch.device("cpu")


def found(*answers: tuple[str, ...]) -> list[list[str]]:
    rows = AnswerEntries(WORDS).of(answers, CPU).tolist()
    return [[word for word, there in zip(WORDS, row, strict=True) if there] for row in rows]


def test_an_entry_is_a_word_of_the_answer_or_the_whole_answer() -> None:
    assert found(("left mass",), ("left lung",), ("nodule",), ("no",), ()) == [
        ["left", "mass"],
        ["left", "left lung"],
        [],
        ["no"],
        [],
    ]


def test_words_are_whole_words_and_any_right_answer_counts() -> None:
    assert found(("nodule right", "mass"), ("leftmost",)) == [["right", "mass"], []]


def test_an_empty_vocabulary_has_no_entries() -> None:
    assert AnswerEntries(()).of([("left",)], CPU).shape == (1, 0)


def reading(attention: Tensor, gate: Tensor | None = None) -> KnowledgeReading:
    gate = torch.full((len(attention), 3, 2), 0.25) if gate is None else gate
    return KnowledgeReading(torch.zeros_like(gate), gate, attention.log())


def used(attention: list[list[float]], answers: list[tuple[str, ...]]) -> Use:
    given = torch.tensor(attention)
    mask = torch.ones(len(given), 3, dtype=torch.bool)
    return use_of(reading(given), mask, AnswerEntries(WORDS).of(answers, CPU))


ATTENTION = [[0.5, 0.1, 0.3, 0.05, 0.05], [0.2] * 5, [0.0, 0.0, 1.0, 0.0, 0.0]]
ANSWERS: list[tuple[str, ...]] = [("left mass",), ("nodule",), ("no",)]


def test_measures_are_those_of_the_formulas() -> None:
    use = used(ATTENTION, ANSWERS)
    assert use.mass[[0, 2]].tolist() == pytest.approx([0.8, 0.0])
    assert use.even[[0, 2]].tolist() == pytest.approx([0.4, 0.2])
    assert use.top[[0, 2]].tolist() == [True, False]
    assert use.known.tolist() == [True, False, True]
    effective = [math.exp(-sum(a * math.log(a) for a in row if a)) for row in ATTENTION]
    assert use.effective.tolist() == pytest.approx(effective, rel=1e-5)
    assert use.gate.tolist() == [0.25] * 3


def test_readings_are_plain_and_name_the_most_attended_entries() -> None:
    first, second, third = used(ATTENTION, ANSWERS).readings(WORDS)
    assert [entry for entry, _ in first.read] == ["left", "mass", "right"]
    assert [share for _, share in first.read] == pytest.approx([0.5, 0.3, 0.1])
    assert (second.mass, second.even, second.top) == (None, None, None)
    assert third.top is False
    assert third.read[0] == ("mass", 1.0)


def test_one_entry_and_rounding_stay_in_range() -> None:
    given = KnowledgeReading(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.tensor([[1e-7]]))
    use = use_of(given, torch.ones(1, 1).bool(), torch.tensor([[True]]))
    (plain,) = use.readings(("yes",))
    assert (plain.mass, plain.even, plain.top, plain.effective, plain.gate) == (1, 1, True, 1, 1)
    assert plain.read == (("yes", 1.0),)


def test_the_gate_s_mean_leaves_padding_out() -> None:
    gate = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, False], [True, True, True]])
    expected = [float(gate[0, :2].mean()), float(gate[1].mean())]
    assert gate_means(gate, mask).tolist() == pytest.approx(expected)


def test_means_weigh_questions_equally_for_any_batches() -> None:
    whole, parts = VocabularyUse(), VocabularyUse()
    whole.update(used(ATTENTION, ANSWERS))
    parts.update(used(ATTENTION[:1], ANSWERS[:1]))
    parts.update(used(ATTENTION[1:], ANSWERS[1:]))
    means = {name: float(value) for name, value in whole.compute().items()}
    assert means == pytest.approx({k: float(v) for k, v in parts.compute().items()})
    assert means["mass"] == pytest.approx(0.4)
    assert means["even"] == pytest.approx(0.3)
    assert means["top"] == pytest.approx(0.5)
    assert means["covered"] == pytest.approx(2 / 3)


def test_means_over_nothing_are_left_out() -> None:
    metric = VocabularyUse()
    metric.update(used(ATTENTION[:1], [("nodule",)]))
    assert set(metric.compute()) == {"covered", "effective", "gate"}
    assert float(metric.compute()["covered"]) == 0
