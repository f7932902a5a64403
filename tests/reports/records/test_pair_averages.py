"""Averages of single pairs: against plain loops, and their place in a record."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.records.pair_averages import pair_averages
from amif_lightning.reports.records.retrieval import read_retrieval_record
from amif_lightning.reports.records.study_scores import StudyLine
from tests.reports.conftest import synthetic_studies
from tests.reports.pairs import with_pairs

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def lines() -> list[StudyLine]:
    return with_pairs(synthetic_studies(0, 1.5, 30), 0)


def test_averages_are_those_of_plain_loops(lines: list[StudyLine]) -> None:
    found = pair_averages(lines)
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


def test_without_pairs_or_matching_or_findings_there_is_nothing(lines: list[StudyLine]) -> None:
    assert pair_averages([replace(line, pairs=None) for line in lines]) is None
    bare = with_pairs(synthetic_studies(0, 1.5, 30), 0, matches=False)
    found = pair_averages([replace(line, pairs=_without_findings(line)) for line in bare])
    assert found is not None
    for name in ("matching_auc_random", "matching_auc_hard", "matching_accuracy"):
        assert getattr(found, name) is None
    assert found.reranked is None
    assert found.localisation is None


def _without_findings(line: StudyLine) -> Any:
    assert line.pairs is not None
    return replace(line.pairs, localised=())


def test_a_record_keeps_them_and_an_old_one_is_read_without(write_search: Write) -> None:
    path = write_search(pairs={})
    record = read_retrieval_record(path)
    assert record.pairs is not None
    assert json.loads(path.read_text())["pairs"] == asdict(record.pairs)
    data = json.loads(path.read_text())
    del data["pairs"]
    path.write_text(json.dumps(data))
    assert read_retrieval_record(path).pairs is None


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("pairs.matching_auc_hard", 1.5, "from 0 to 1"),
        ("pairs.cosine", "near", "pairs.cosine"),
        ("pairs.transport_margin", 0.3, "random transport minus"),
        ("pairs.reranked.studies", 999, "more than the 60 studies"),
        ("pairs.localisation.findings", 1, "must hold 1 findings"),
        ("pairs.matching_accuracy", None, "must be null where the random AUC is"),
        ("pairs.more", 1, "pairs.more"),
        ("pairs.localisation.kinds.mass.mean", -1, "from 0"),
    ],
)
def test_odd_numbers_are_refused(
    write_search: Write, edit: Callable[..., None], field: str, value: Any, said: str
) -> None:
    path = write_search(pairs={})
    edit(path, field, value)
    with pytest.raises(UserError, match=said) as caught:
        read_retrieval_record(path)
    assert str(path) in str(caught.value)


def test_lines_that_give_another_number_are_refused(
    write_search: Write, edit: Callable[..., None]
) -> None:
    path = write_search(pairs={})
    edit(path, "pairs.cosine", 0.2)
    with pytest.raises(UserError, match=r"another value of 'pairs\.cosine'"):
        collect_searches(path.parent)
