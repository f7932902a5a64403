"""The tables of local alignment, and what is said of parts that pay and parts that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.reports.local_scores import LocalScores, scores_pairs
from amif_lightning.reports.local_table import (
    local_comparisons,
    local_parts,
    local_statements,
    local_tables,
)
from amif_lightning.reports.retrieval_groups import RetrievalGroup, collect_searches

Write = Callable[..., Path]


@pytest.fixture
def groups(write_search: Write, tmp_path: Path) -> list[RetrievalGroup]:
    """One configuration that localises and matches well, one that does neither, one without."""
    for seed in range(3):
        write_search(seed, experiment="full", pairs={})
        write_search(seed, experiment="plain", pairs={"skill": 0.3, "points": 1.0, "cosine": 0.97})
        write_search(seed, experiment="bare", pairs={"matches": False})
    write_search(0, experiment="old")
    return collect_searches(tmp_path / "searches")


def test_every_configuration_with_pairs_has_its_row(groups: list[RetrievalGroup]) -> None:
    assert [group.key.experiment for group in groups if not scores_pairs(group)] == ["old"]
    (_, (header, rows), _), (_, (places, found), _) = local_tables(groups)
    cells = {row[2]: dict(zip(header, row, strict=True)) for row in rows}
    assert list(cells) == ["bare", "full", "plain"]
    full, bare = cells["full"], cells["bare"]
    scores = LocalScores(next(g for g in groups if g.key.experiment == "full"))
    averages = scores.averages
    mean = sum(a.matching_auc_hard or 0.0 for a in averages) / 3
    assert full["AUC, hard pairs"].startswith(f"{mean:.3f} [")
    assert (bare["AUC, hard pairs"], bare["right %"], bare["re-ranked"]) == ("-", "-", "-")
    assert (full["margin"], full["cosine"], full["seeds"]) == ("0.100", "0.100", "3")
    reranked = sum(a.reranked.reordered for a in averages if a.reranked) / 3
    before = sum(a.reranked.global_order for a in averages if a.reranked) / 3
    assert full["re-ranked"] == f"{100 * reranked:.1f}"
    assert full["re-ranked minus global, points"].startswith(f"{100 * (reranked - before):+.1f} [")
    shown = {row[2]: dict(zip(places, row, strict=True)) for row in found}
    places_mean = sum(a.localisation.mean for a in averages if a.localisation) / 3
    assert shown["full"]["mean"].startswith(f"{places_mean:.2f} [")
    assert shown["full"]["another word"] == "1.00"
    assert shown["full"]["same kind elsewhere"] == "1.20"
    assert shown["full"]["mass"].endswith(f"({scores.kinds['mass']})")


def said_of(groups: list[RetrievalGroup], name: str) -> str:
    return " ".join(
        local_statements(LocalScores(next(g for g in groups if g.key.experiment == name)))
    )


def test_what_pays_and_what_does_not_is_said(groups: list[RetrievalGroup]) -> None:
    full, plain = said_of(groups, "full"), said_of(groups, "plain")
    assert "words go to their findings" in full
    assert "COLLAPSED" not in full
    assert "words do NOT go to their findings" in plain
    assert "COLLAPSED: words and patches of different studies have a mean cosine of 0.97" in plain
    # Both re-order their lists at random.
    assert "re-ranking" in full or "matching improves the list" in full


def test_differences_from_the_baseline_are_judged(groups: list[RetrievalGroup]) -> None:
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    said = local_comparisons(scored, ["plain"])
    above = [text for text in said if "full, matching AUC, hard pairs: above plain" in text]
    assert len(above) == 1
    assert "per seed +" in above[0]
    assert any("full, localisation: above plain" in text for text in said)
    assert not any("bare, matching" in text for text in said)
    assert local_comparisons(scored, []) == []
    turned = local_comparisons(scored, ["full"])
    assert any("plain, localisation: BELOW full" in text for text in turned)


def test_only_equal_seeds_are_compared(write_search: Write, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_search(seed, experiment="full", pairs={})
    write_search(1, experiment="part", pairs={"skill": 0.0})
    write_search(5, experiment="apart", pairs={})
    groups = collect_searches(tmp_path / "searches")
    said = local_comparisons([LocalScores(group) for group in groups], ["full"])
    assert {text.split(", ")[2].split(":")[0] for text in said} == {"part"} or all(
        "apart" not in text.split(":")[0] for text in said
    )
    assert any("part, matching AUC, hard pairs: BELOW full" in text for text in said)


def test_runs_without_pairs_add_nothing(write_search: Write, tmp_path: Path) -> None:
    write_search(0)
    groups = collect_searches(tmp_path / "searches")
    assert local_parts(groups, ["full"]) == []


def test_few_studies_have_no_interval(write_search: Write, tmp_path: Path) -> None:
    write_search(0, pairs={"matches": False}, studies=12)  # of six patients
    groups = collect_searches(tmp_path / "searches")
    parts = local_parts(groups)
    assert parts[0] == "## Matching and transport"
    assert "[" not in parts[1]
