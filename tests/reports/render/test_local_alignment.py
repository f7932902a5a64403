"""The tables and sentences of local alignment."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest

from amif_lightning.reports.analysis.groups import SearchGroup
from amif_lightning.reports.analysis.local_scores import LocalScores, scores_pairs
from amif_lightning.reports.records.pairs import PairAverages
from amif_lightning.reports.render.local_alignment import local_sentences, local_tables
from amif_lightning.reports.render.tables import report
from tests.reports.conftest import Writer, searches_in, write_searches

Cells = dict[str, dict[str, str]]
HEAD = "Phantom 112px [retrieval, test]: "


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[SearchGroup]:
    """One configuration that localises and matches well, one that does neither, three with less."""
    folder = tmp_path_factory.mktemp("searches")
    poor = {"skill": 0.3, "points": 1.0, "cosine": 0.97}
    for seed in range(3):
        write_searches(folder, seed, experiment="full", pairs={"gain": 0.2})
        write_searches(folder, seed, experiment="plain", pairs=poor)
        bare = {"matches": False, "findings": False}
        write_searches(folder, seed, experiment="bare", pairs=bare)
    write_searches(folder, 0, experiment="once", pairs={"hard": 0})
    write_searches(folder, 0, experiment="old")
    return searches_in(folder)


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


# ---- tables -------------------------------------------------------------------------------------


def test_the_main_table_holds_means_over_seeds(groups: list[SearchGroup]) -> None:
    rows = cells(groups)["Local alignment"]
    assert list(rows) == ["bare", "full", "once", "plain"]
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


def test_missing_scores_are_a_dash(groups: list[SearchGroup]) -> None:
    found = cells(groups)
    bare = found["Local alignment"]["bare"]
    there = {name for name, cell in bare.items() if cell != "-"}
    assert there == {"data", "split", "experiment", "margin", "cosine", "seeds"}
    once = found["Local alignment"]["once"]
    assert (once["AUC, hard pairs"], once["seeds"]) == ("-", "1")
    assert "±" not in "".join(once.values())
    assert "[" in once["AUC, random pairs"]
    # "bare" localised and re-ranked nothing, so it has no controls and no kinds.
    assert list(found["Local alignment against its controls"]) == ["full", "once", "plain"]
    assert list(found["Localisation by kind of finding"]) == ["full", "once", "plain"]


def test_scores_are_compared_with_their_controls(groups: list[SearchGroup]) -> None:
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


def test_without_lines_there_are_averages_and_no_intervals(
    write_search: Writer, tmp_path: Path
) -> None:
    write_search(0, pairs={}, lines=False)
    groups = searches_in(tmp_path)
    found = cells(groups)
    auc = averages(groups, "full")[0].matching_auc_hard
    assert found["Local alignment"]["full"]["AUC, hard pairs"] == f"{auc:.3f}"
    assert "Local alignment against its controls" not in found


def test_runs_without_pairs_add_nothing(groups: list[SearchGroup]) -> None:
    (old,) = [group for group in groups if group.key.experiment == "old"]
    assert not scores_pairs(old)
    assert local_tables([old]) == []
    assert "ocal alignment" not in report([], [old], ["full"])


def test_few_studies_have_neither_percentages_nor_intervals(
    write_search: Writer, tmp_path: Path
) -> None:
    write_search(0, pairs={}, studies=12)  # of six patients
    groups = searches_in(tmp_path)
    row = cells(groups)["Local alignment"]["full"]
    assert (row["accuracy %"], row["precision@5 %, re-ranked"]) == ("-", "-")
    assert "[" not in "".join(row.values())
    assert local_sentences(groups) == []


# ---- sentences ----------------------------------------------------------------------------------


def starts(texts: list[str], start: str) -> list[str]:
    return [text for text in texts if text.startswith(HEAD + start)]


def test_every_part_of_a_configuration_is_judged(groups: list[SearchGroup]) -> None:
    sentences = local_sentences(groups)
    for name, raises, localises, collapsed in (
        ("full", "raises", "localises", "have not collapsed (cosine of other pairs 0.10)."),
        ("plain", "does not raise", "does not localise", "have collapsed (cosine of other pairs"),
    ):
        (lists,) = starts(sentences, f"Re-ranking by matching {raises} precision@5 in {name}: ")
        assert "points, seed 0: " in lists
        (places,) = starts(sentences, f"The transport plan of {name} {localises} findings: ")
        assert "against another word, " in places
        assert places.endswith("against the same kind elsewhere.")
        assert starts(sentences, f"The tokens of {name} {collapsed}")
    assert sum(" bare" in sentence for sentence in sentences) == 1  # the tokens


@pytest.mark.parametrize(("points", "other"), [(2.0, 2.0), (0.6, 0.2)])
def test_localisation_must_be_above_its_controls_and_a_uniform_plan(
    write_search: Writer, tmp_path: Path, points: float, other: float
) -> None:
    write_search(0, pairs={"points": points, "other": other})
    places = local_sentences(searches_in(tmp_path))[1]
    assert places.startswith(f"{HEAD}The transport plan of full does not localise findings: ")


def test_differences_from_the_baseline_are_judged(groups: list[SearchGroup]) -> None:
    chosen = [group for group in groups if group.key.experiment != "once"]
    sentences = local_sentences(chosen, ["plain"])
    for name in ("hard AUC", "random AUC", "localisation"):
        (found,) = starts(sentences, f"full is above plain in {name}: +")
        assert "seed 0: +" in found
    (lists,) = starts(sentences, "full is above plain in re-ranked precision@5: +")
    assert " points, seed 0: +" in lists
    assert not starts(sentences, "bare is")
    assert not starts(sentences, "bare and")
    assert len(local_sentences(chosen)) == len(sentences) - 4
    # Two baselines are compared once.
    twice = local_sentences(chosen, ["full", "plain"])
    assert starts(twice, "plain is BELOW full in localisation: -")
    assert not starts(twice, "full is above plain")


def test_differences_that_chance_explains(write_search: Writer, tmp_path: Path) -> None:
    for seed in range(5):
        write_search(seed, experiment="full", pairs={"skill": 1.0})
        write_search(seed, experiment="less", pairs={"skill": 1.4 if seed == 0 else 0.1})
        write_search(seed, experiment="same", pairs={"skill": 1.001})  # other noise, equal skill
    sentences = local_sentences(searches_in(tmp_path), ["full"])
    assert starts(sentences, "same and full do not differ in hard AUC beyond chance: ")
    (found,) = starts(sentences, "less is BELOW full in random AUC, BUT NOT IN EVERY SEED: -")
    assert "seed 0: +" in found


def test_other_negatives_are_not_compared(write_search: Writer, tmp_path: Path) -> None:
    """Hard negatives come from the teacher: under two teachers they are other pairs."""
    write_search(0, experiment="full", pairs={})
    write_search(0, experiment="taught", pairs={"hard": 3})
    write_search(0, experiment="untaught", pairs={"hard": 0})
    sentences = local_sentences(searches_in(tmp_path), ["full"])
    assert starts(sentences, "taught and full are not compared in hard AUC")
    assert not [text for text in sentences if "taught is" in text and "hard AUC" in text]
    assert [text for text in sentences if "taught" in text and "in random AUC" in text]
    assert not [text for text in sentences if "untaught" in text and "hard AUC" in text]


def test_only_equal_seeds_are_compared(write_search: Writer, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_search(seed, experiment="full", pairs={})
    for seed in (1, 7):
        write_search(seed, experiment="part", pairs={"skill": 0.0})
    write_search(5, experiment="apart", pairs={"skill": 0.0})
    sentences = local_sentences(searches_in(tmp_path), ["full"])
    (found,) = starts(sentences, "part is BELOW full in hard AUC")
    assert "seed 1: -" in found
    assert "seed 0" not in found
    assert "seed 7" not in found
    assert not starts(sentences, "apart is")


def test_seeds_without_pairs_are_named(write_search: Writer, tmp_path: Path) -> None:
    write_search(0)
    write_search(1, pairs={})
    (group,) = searches_in(tmp_path)
    (text,) = local_sentences([group])
    assert text.startswith(f"{HEAD}full has no local scores here, because its seed 0 scored no")
