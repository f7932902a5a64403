"""The tables of local alignment."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.reports.analysis.groups import SearchGroup
from amif_lightning.reports.analysis.local_scores import LocalScores, scores_pairs
from amif_lightning.reports.records.pairs import PairAverages
from amif_lightning.reports.render.local_tables import local_tables
from amif_lightning.reports.render.tables import report
from tests.reports.conftest import searches_in

Write = Callable[..., Path]
Cells = dict[str, dict[str, str]]


@pytest.fixture
def groups(write_search: Write, tmp_path: Path) -> list[SearchGroup]:
    """Configurations with and without matching and findings, and one without pairs."""
    for seed in range(3):
        write_search(seed, experiment="full", pairs={"gain": 0.2})
        write_search(seed, experiment="bare", pairs={"matches": False, "findings": False})
    write_search(0, experiment="once", pairs={"hard": 0})
    write_search(0, experiment="old")
    return searches_in(tmp_path / "searches")


def cells(groups: list[SearchGroup]) -> dict[str, Cells]:
    """By title and experiment the cells of each column."""
    return {
        table.title: {row[2]: dict(zip(table.header, row, strict=True)) for row in table.rows}
        for table in local_tables(groups)
    }


def spread(values: list[float], digits: int) -> str:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def averages(groups: list[SearchGroup], name: str) -> list[PairAverages]:
    return LocalScores(next(g for g in groups if g.key.experiment == name)).averages


def test_the_main_table_holds_means_over_seeds(groups: list[SearchGroup]) -> None:
    rows = cells(groups)["Local alignment"]
    assert list(rows) == ["bare", "full", "once"]
    full, found = rows["full"], averages(groups, "full")
    hard = spread([a.matching_auc_hard or 0 for a in found], 3)
    assert full["AUC, hard pairs"].startswith(f"{hard} [")
    right = spread([100 * (a.matching_accuracy or 0) for a in found], 1)
    assert full["accuracy %"] == right
    lists = [a.reranked for a in found if a.reranked]
    assert full["precision@5 %, global order"] == spread([100 * r.global_order for r in lists], 1)
    after = spread([100 * r.reordered for r in lists], 1)
    assert full["precision@5 %, re-ranked"].startswith(f"{after} [")
    assert (full["margin"], full["cosine"]) == ("0.100 ± 0.000", "0.100 ± 0.000")
    places = [a.localisation for a in found if a.localisation]
    assert full["localisation"].startswith(f"{spread([p.mean for p in places], 2)} [")
    assert full["median"] == spread([p.median for p in places], 2)
    assert (full["another word"], full["same kind elsewhere"]) == ("1.00 ± 0.00", "1.20 ± 0.00")
    assert full["seeds"] == "3"


def test_what_was_not_scored_is_a_dash(groups: list[SearchGroup]) -> None:
    found = cells(groups)
    bare = found["Local alignment"]["bare"]
    there = {name for name, cell in bare.items() if cell != "-"}
    assert there == {"data", "split", "experiment", "margin", "cosine", "seeds"}
    once = found["Local alignment"]["once"]
    assert (once["AUC, hard pairs"], once["seeds"]) == ("-", "1")
    assert "±" not in "".join(once.values())
    assert "[" in once["AUC, random pairs"]
    # Nothing of it was localised or re-ranked, so it has no controls and no kinds.
    assert list(found["Local alignment against its controls"]) == ["full", "once"]
    assert list(found["Localisation by kind of finding"]) == ["full", "once"]


def test_parts_are_shown_against_their_controls(groups: list[SearchGroup]) -> None:
    full = cells(groups)["Local alignment against its controls"]["full"]
    lists = [a.reranked for a in averages(groups, "full") if a.reranked]
    gain = 100 * statistics.fmean(r.reordered - r.global_order for r in lists)
    assert full["re-ranked minus global order, points"].startswith(f"{gain:+.1f} [+")
    group = next(g for g in groups if g.key.experiment == "full")
    findings = [one for run in group.lines for ln in run if ln.pairs for one in ln.pairs.localised]
    apart = statistics.fmean(
        (one.inside - one.other_word) / one.area for one in findings if one.other_word is not None
    )
    assert full["localisation minus another word"].startswith(f"{apart:+.2f} [+")


def test_kinds_have_their_mean_and_number(groups: list[SearchGroup]) -> None:
    full = cells(groups)["Localisation by kind of finding"]["full"]
    places = [a.localisation for a in averages(groups, "full") if a.localisation]
    for kind in ("mass", "nodule"):
        its = [place.kinds[kind] for place in places]
        assert full[kind] == f"{spread([one.mean for one in its], 2)} ({its[0].findings})"


def test_averages_are_shown_without_intervals_where_lines_are_missing(
    write_search: Write, tmp_path: Path
) -> None:
    write_search(0, pairs={}, lines=False)
    groups = searches_in(tmp_path / "searches")
    found = cells(groups)
    auc = averages(groups, "full")[0].matching_auc_hard
    assert found["Local alignment"]["full"]["AUC, hard pairs"] == f"{auc:.3f}"
    assert "Local alignment against its controls" not in found


def test_runs_without_pairs_add_nothing(write_search: Write, tmp_path: Path) -> None:
    write_search(0)
    groups = searches_in(tmp_path / "searches")
    assert not scores_pairs(groups[0])
    assert local_tables(groups) == []
    assert "local alignment" not in report([], groups, ["full"])


def test_few_studies_have_neither_percentages_nor_intervals(
    write_search: Write, tmp_path: Path
) -> None:
    write_search(0, pairs={}, studies=12)  # of six patients
    groups = searches_in(tmp_path / "searches")
    row = cells(groups)["Local alignment"]["full"]
    assert (row["accuracy %"], row["precision@5 %, re-ranked"]) == ("-", "-")
    assert "[" not in "".join(row.values())
    assert "## What" not in report([], groups)
