"""What is said of parts that pay, of parts that do not, and of differences from a baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.reports.analysis.groups import SearchGroup
from amif_lightning.reports.analysis.local_scores import LocalScores, scores_pairs
from amif_lightning.reports.render.local_verdict import (
    local_comparisons,
    local_sentences,
    local_statements,
)
from tests.reports.conftest import searches_in

Write = Callable[..., Path]
HEAD = "Phantom 112px [retrieval, test]: "


@pytest.fixture
def groups(write_search: Write, tmp_path: Path) -> list[SearchGroup]:
    """One configuration that localises and matches well, one that does neither, two with less."""
    for seed in range(3):
        write_search(seed, experiment="full", pairs={"gain": 0.2})
        write_search(seed, experiment="plain", pairs={"skill": 0.3, "points": 1.0, "cosine": 0.97})
        write_search(seed, experiment="bare", pairs={"matches": False, "findings": False})
    write_search(0, experiment="old")
    return searches_in(tmp_path / "searches")


def scores_of(groups: list[SearchGroup], name: str) -> LocalScores:
    return LocalScores(next(g for g in groups if g.key.experiment == name))


def starts(texts: list[str], start: str) -> list[str]:
    return [text for text in texts if text.startswith(HEAD + start)]


def test_parts_that_pay(groups: list[SearchGroup]) -> None:
    reranked, places, tokens = local_statements(scores_of(groups, "full"))
    assert reranked.startswith(f"{HEAD}Re-ranking by matching raises precision@5 in full: +")
    assert places.startswith(f"{HEAD}The transport plan of full localises findings: ")
    assert "against another word, +" in places
    assert places.endswith("against the same kind elsewhere.")
    assert tokens == f"{HEAD}The tokens of full have not collapsed (cosine of other pairs 0.10)."


def test_parts_that_do_not_pay(groups: list[SearchGroup]) -> None:
    reranked, places, tokens = local_statements(scores_of(groups, "plain"))
    assert reranked.startswith(f"{HEAD}Re-ranking by matching does not raise precision@5 in plain:")
    assert "points, seed 0: " in reranked
    assert places.startswith(f"{HEAD}The transport plan of plain does not localise findings: ")
    assert tokens == f"{HEAD}The tokens of plain have collapsed (cosine of other pairs 0.97)."


@pytest.mark.parametrize(("points", "other"), [(2.0, 2.0), (0.6, 0.2)])
def test_words_must_beat_their_controls_and_an_even_spread(
    write_search: Write, tmp_path: Path, points: float, other: float
) -> None:
    write_search(0, pairs={"points": points, "other": other})
    (group,) = searches_in(tmp_path / "searches")
    places = local_statements(LocalScores(group))[1]
    assert places.startswith(f"{HEAD}The transport plan of full does not localise findings: ")
    assert "against the same kind elsewhere." in places


def test_nothing_is_said_of_what_was_not_scored(groups: list[SearchGroup]) -> None:
    assert local_statements(scores_of(groups, "bare")) == [
        f"{HEAD}The tokens of bare have not collapsed (cosine of other pairs 0.10)."
    ]


def test_differences_from_the_baseline_are_judged(groups: list[SearchGroup]) -> None:
    said = local_sentences(groups, ["plain"])
    for name in ("hard AUC", "random AUC", "localisation"):
        (found,) = starts(said, f"full is above plain in {name}: +")
        assert "seed 0: +" in found
    (lists,) = starts(said, "full is above plain in re-ranked precision@5: +")
    assert " points, seed 0: +" in lists
    assert not starts(said, "bare is")
    assert not starts(said, "bare and")
    assert len(local_sentences(groups)) == len(said) - 4  # no baseline, no comparison
    turned = local_sentences(groups, ["full"])
    assert starts(turned, "plain is BELOW full in localisation: -")
    # Two baselines are compared once.
    twice = local_sentences(groups, ["full", "plain"])
    assert starts(twice, "plain is BELOW full in hard AUC")
    assert not starts(twice, "full is above plain")


def test_an_interval_with_zero_is_no_difference(write_search: Write, tmp_path: Path) -> None:
    for seed in range(2):
        write_search(seed, experiment="full", pairs={})
        write_search(seed, experiment="same", pairs={"skill": 2.001})  # other noise, equal skill
    said = local_sentences(searches_in(tmp_path / "searches"), ["full"])
    assert starts(said, "same and full do not differ in hard AUC beyond chance: ")


def test_a_seed_that_disagrees_is_told(write_search: Write, tmp_path: Path) -> None:
    for seed in range(5):
        write_search(seed, experiment="full", pairs={"skill": 1.0})
        write_search(seed, experiment="less", pairs={"skill": 1.4 if seed == 0 else 0.1})
    said = local_sentences(searches_in(tmp_path / "searches"), ["full"])
    (found,) = starts(said, "less is BELOW full in random AUC")
    assert "in random AUC, BUT NOT IN EVERY SEED: -" in found
    assert "seed 0: +" in found


def test_other_negatives_are_not_compared(write_search: Write, tmp_path: Path) -> None:
    """Hard negatives come from the teacher: under two teachers they are other pairs."""
    write_search(0, experiment="full", pairs={})
    write_search(0, experiment="taught", pairs={"hard": 3})
    write_search(0, experiment="untaught", pairs={"hard": 0})
    said = local_sentences(searches_in(tmp_path / "searches"), ["full"])
    assert starts(said, "taught and full are not compared in hard AUC")
    assert not [text for text in said if "taught is" in text and "hard AUC" in text]
    assert [text for text in said if "taught" in text and "in random AUC" in text]
    assert not [text for text in said if "untaught" in text and "hard AUC" in text]


def test_only_equal_seeds_are_compared(write_search: Write, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_search(seed, experiment="full", pairs={})
    for seed in (1, 7):
        write_search(seed, experiment="part", pairs={"skill": 0.0})
    write_search(5, experiment="apart", pairs={"skill": 0.0})
    groups = searches_in(tmp_path / "searches")
    said = local_comparisons([LocalScores(group) for group in groups], ["full"])
    (found,) = starts(said, "part is BELOW full in hard AUC")
    assert "seed 1: -" in found
    assert "seed 0" not in found
    assert "seed 7" not in found
    assert not starts(said, "apart")


def test_seeds_without_pairs_are_named(write_search: Write, tmp_path: Path) -> None:
    write_search(0)
    write_search(1, pairs={})
    (group,) = searches_in(tmp_path / "searches")
    assert not scores_pairs(group)
    (said,) = local_sentences([group])
    assert said.startswith(f"{HEAD}full has no local scores here, for its seed 0 scored no pairs")
