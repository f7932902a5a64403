"""Scores of single pairs become lines: NaN is null, places become names."""

from __future__ import annotations

from dataclasses import replace

import torch

from amif_lightning.callbacks.pair_results import pair_lines
from amif_lightning.evaluation import FixedNegatives, Localised, PairScores
from amif_lightning.reports.records.pairs import FindingLine, Odds, PairLine, Transported

NAN = float("nan")


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


SCORES = PairScores(
    negatives=FixedNegatives((2, -1, 0), (1, 0, -1)),
    matching={
        "own": numbers(1.5, 2.5, 3.5),
        "random": numbers(-1.0, NAN, -3.0),
        "hard": numbers(0.5, 0.25, NAN),
    },
    reranked=numbers(0.4, NAN, 1.0),
    transport={"own": numbers(0.1, NAN, 0.3), "random": numbers(0.2, NAN, 0.4)},
    cosine=numbers(0.01, NAN, 0.03),
    localised=(
        Localised(2, "mass", 0.1, 0.3, None, 0.2),
        Localised(2, "nodule", 0.01, 0.0, 0.1, None),
    ),
)


def test_each_study_has_its_own_numbers() -> None:
    first, second, third = pair_lines(["a", "b", "c"], SCORES)
    assert first == PairLine(
        random="c",
        hard="b",
        matching=Odds(own=1.5, random=-1.0, hard=0.5),
        reranked=0.4,
        transport=Transported(own=0.1, random=0.2),
        cosine=0.01,
        localised=(),
    )
    assert (second.random, second.hard, second.matching) == (
        None,
        "a",
        Odds(own=2.5, random=None, hard=0.25),
    )
    assert (second.reranked, second.cosine) == (None, None)
    assert second.transport == Transported(own=None, random=None)
    assert third.matching == Odds(own=3.5, random=-3.0, hard=None)
    assert third.localised == (
        FindingLine(kind="mass", area=0.1, inside=0.3, other_word=None, elsewhere=0.2),
        FindingLine(kind="nodule", area=0.01, inside=0.0, other_word=0.1, elsewhere=None),
    )


def test_without_matching_and_hard_negatives_there_are_none() -> None:
    bare = replace(SCORES, negatives=FixedNegatives((2, -1, 0), None), matching=None, reranked=None)
    for line in pair_lines(["a", "b", "c"], bare):
        assert (line.hard, line.matching, line.reranked) == (None, None, None)
