"""Measures of single pairs and their intervals, against loops over drawn studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.local_scores import HARD, PLACES, RANDOM, RERANKED, LocalScores
from amif_lightning.reports.analysis.statistics import Measure, bootstrap_measure
from amif_lightning.reports.records.pairs import PairLine
from amif_lightning.reports.records.retrieval import StudyLine
from tests.reports.conftest import Writer, searches_in

Score = Callable[[Sequence[StudyLine]], float]
DRAWS = 40


def area(lines: Sequence[StudyLine], name: str) -> float:
    """How often an own pair is above a negative, one pair after another."""
    wins = pairs = 0.0
    for one, other in product(lines, lines):
        assert one.pairs is not None
        assert other.pairs is not None
        mine, theirs = one.pairs.matching, other.pairs.matching
        assert mine is not None
        negative = getattr(theirs, name)
        if negative is not None:
            pairs += 1
            wins += 1.0 if mine.own > negative else 0.5 if mine.own == negative else 0.0
    return wins / pairs


def mean(lines: Sequence[StudyLine], value: Callable[[PairLine], list[float]]) -> float:
    found = [v for line in lines if line.pairs is not None for v in value(line.pairs)]
    return sum(found) / len(found)


def gain(lines: Sequence[StudyLine]) -> float:
    found = [
        line.pairs.reranked - line.image_to_text.precision[5]
        for line in lines
        if line.pairs is not None and line.pairs.reranked is not None
    ]
    return sum(found) / len(found)


def minus_word(lines: Sequence[StudyLine]) -> float:
    def apart(pair: PairLine) -> list[float]:
        return [
            (one.inside - one.other_word) / one.area
            for one in pair.localised
            if one.other_word is not None
        ]

    return mean(lines, apart)


def slow(runs: Sequence[Sequence[StudyLine]], score: Score) -> tuple[float, float]:
    """Percentiles of a score of lists that hold a group as often as it was drawn.

    The draws are the project's: names sorted, one generator, groups first and then seeds.
    """
    names = sorted({line.group for line in runs[0]})
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(names), size=(DRAWS, len(names)))
    seeds = rng.integers(0, len(runs), size=(DRAWS, len(runs)))
    values = []
    for places, chosen in zip(drawn.tolist(), seeds.tolist(), strict=True):
        parts = []
        for seed in chosen:
            taken = [ln for place in places for ln in runs[seed] if ln.group == names[place]]
            parts.append(score(taken))
        values.append(sum(parts) / len(parts))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


@pytest.fixture
def scores(write_search: Writer, tmp_path: Path) -> LocalScores:
    for seed in range(2):
        write_search(seed, pairs={"skill": 0.4}, studies=24)
    (group,) = searches_in(tmp_path / "searches")
    return LocalScores(group)


def test_every_seed_has_the_value_of_its_record(scores: LocalScores) -> None:
    def seeds(name: str) -> tuple[float, ...]:
        found = scores.estimate(scores.measures[name])
        assert found is not None
        return tuple(found.seeds.values())

    averages = scores.averages
    assert seeds(HARD) == pytest.approx([a.matching_auc_hard for a in averages])
    assert seeds(RANDOM) == pytest.approx([a.matching_auc_random for a in averages])
    assert seeds(RERANKED) == pytest.approx([a.reranked.reordered for a in averages if a.reranked])
    assert seeds(PLACES) == pytest.approx([a.localisation.mean for a in averages if a.localisation])


def slow_cases(scores: LocalScores) -> list[tuple[Measure, Measure | None, Score]]:
    return [
        (scores.measures[HARD], None, lambda lines: area(lines, "hard")),
        (scores.measures[RANDOM], None, lambda lines: area(lines, "random")),
        (scores.measures[RERANKED], scores.global_order, gain),
        (*scores.against(lambda one: one.other_word), minus_word),
    ]


@pytest.mark.parametrize("case", range(4))
def test_intervals_are_those_of_a_slow_bootstrap(scores: LocalScores, case: int) -> None:
    first, second, score = slow_cases(scores)[case]
    found = bootstrap_measure(first, second, scores.clusters, draws=DRAWS)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(slow(scores.lines, score))


def test_controls_are_of_the_findings_that_have_them(scores: LocalScores) -> None:
    word = scores.controls["another word"]
    assert list(word.seeds.values()) == pytest.approx([minus_word(run) for run in scores.lines])
    assert scores.gain is not None
    assert list(scores.gain.seeds.values()) == pytest.approx([gain(run) for run in scores.lines])


def test_seeds_of_one_configuration_judge_the_same_pairs(
    write_search: Writer, tmp_path: Path
) -> None:
    write_search(0, pairs={})
    write_search(1, pairs={"hard": 3})
    with pytest.raises(UserError, match=r"differ in the judged pairs \(study1\)"):
        searches_in(tmp_path / "searches")
