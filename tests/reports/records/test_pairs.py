"""Averages of single pairs, against plain loops."""

from __future__ import annotations

import statistics

import pytest

from amif_lightning.reports.records.pairs import pair_averages
from amif_lightning.reports.records.retrieval import averages
from tests.reports.conftest import changed, synthetic_studies, with_pairs


def test_averages_are_those_of_plain_loops() -> None:
    lines = with_pairs(synthetic_studies(0, 1.5, 30), 0)
    found = averages(lines).pairs
    assert found is not None
    pairs = [line.pairs for line in lines if line.pairs is not None]
    for name, value in (("random", found.matching_auc_random), ("hard", found.matching_auc_hard)):
        wins = [
            1.0 if a.matching.own > getattr(b.matching, name) else 0.0
            for a in pairs
            for b in pairs
            if a.matching and b.matching and getattr(b.matching, name) is not None
        ]
        assert value == pytest.approx(statistics.fmean(wins))
    both = [p.matching for p in pairs if p.matching and p.matching.random is not None]
    right = [(m.own > 0) + (m.random is not None and m.random < 0) for m in both]
    assert found.matching_accuracy == pytest.approx(sum(right) / (2 * len(both)))
    queried = [line for line in lines if line.pairs and line.pairs.reranked is not None]
    assert found.reranked is not None
    assert found.reranked.studies == len(queried) == 15
    assert found.reranked.global_order == pytest.approx(
        statistics.fmean(line.image_to_text.precision[5] for line in queried)
    )
    assert (found.transport_own, found.transport_random) == (0.5, 0.6)
    assert found.transport_margin == pytest.approx(0.1)
    assert found.cosine == pytest.approx(0.1)
    findings = [one for p in pairs for one in p.localised]
    place = found.localisation
    assert place is not None
    assert place.findings == len(findings) == 30
    assert place.mean == pytest.approx(statistics.fmean(one.inside / 0.1 for one in findings))
    assert place.median == pytest.approx(statistics.median(one.inside / 0.1 for one in findings))
    assert place.other_word == pytest.approx(1.0)
    assert place.elsewhere == pytest.approx(1.2)
    assert {kind: one.findings for kind, one in place.kinds.items()} == {
        kind: sum(one.kind == kind for one in findings) for kind in ("mass", "nodule")
    }


def test_without_matching_or_findings_there_is_nothing() -> None:
    lines = with_pairs(synthetic_studies(0, 1.5, 30), 0, matches=False)
    pairs = [changed(line.pairs, localised=()) for line in lines if line.pairs is not None]
    found = pair_averages(pairs, [0.0] * 30)
    for name in ("matching_auc_random", "matching_auc_hard", "matching_accuracy"):
        assert getattr(found, name) is None
    assert found.reranked is None
    assert found.localisation is None


def test_a_score_of_zero_is_right_by_half() -> None:
    lines = with_pairs(synthetic_studies(0, 1.5, 30), 0)
    pair = lines[1].pairs
    assert pair is not None
    assert pair.matching is not None
    for own, random, right in ((0.0, -1.0, 0.75), (1.0, 0.0, 0.75), (-1.0, 1.0, 0.0)):
        odds = changed(pair.matching, own=own, random=random)
        assert changed(pair, matching=odds).right == right
