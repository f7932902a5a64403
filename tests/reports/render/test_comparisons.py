"""Comparisons of configurations: cells, sentences, and reasons not to compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.groups import AnyGroup
from amif_lightning.reports.analysis.statistics import Estimate, Interval, bootstrap_difference
from amif_lightning.reports.render.comparisons import (
    Pair,
    check_baselines,
    compare,
    pairs_of,
    sentence,
)
from tests.reports.analysis.test_groups import precision
from tests.reports.conftest import Writer, answers_in, cells, change_lines, searches_in


def parts(groups: Sequence[AnyGroup], baselines: Sequence[str] = ()) -> list[str]:
    """The comparison in Markdown without its heading."""
    return compare(groups, baselines).parts[1:]


def test_pairs() -> None:
    def pairs(names: str, baselines: str = "") -> list[tuple[str, str]]:
        groups: list[Any] = [SimpleNamespace(key=SimpleNamespace(experiment=n)) for n in names]
        chosen = pairs_of(groups, baselines)
        return [(one.key.experiment, other.key.experiment) for one, other in chosen]

    assert pairs("abc") == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs("abc", "b") == [("a", "b"), ("c", "b")]
    assert pairs("abc", "d") == []
    # Two baselines are compared once.
    assert pairs("abc", "bc") == [("a", "b"), ("c", "b"), ("a", "c")]
    # The baseline under two protocols is two groups, but not its own rival.
    assert pairs("bbc", "b") == [("c", "b"), ("c", "b")]


def test_an_unknown_baseline_names_the_experiments() -> None:
    check_baselines([], ["x"])
    check_baselines(["x"], ["y", "x"])
    with pytest.raises(UserError, match=r"--baseline z: no record belongs .* one of x, y"):
        check_baselines(["x", "z"], ["y", "x", "y"])


def pair(value: float, span: Interval | None, by_seed: dict[int, float]) -> Pair:
    first: Any = SimpleNamespace(label="D", name="a", first=SimpleNamespace(MAIN="x"))
    second: Any = SimpleNamespace(name="b")
    return Pair(first, second, "overall", Estimate(value, span, by_seed))


@pytest.mark.parametrize(
    ("low", "high", "seeds", "words"),
    [
        (0.01, 0.05, (3, 3), "a: 3.0 points of x above b (95 % interval +1.0 to +5.0, which excl"),
        (0.01, 0.05, (7, -1), "above b, BUT NOT IN EVERY SEED (95 % interval"),
        (0.01, 0.05, (6, 0), "above b, BUT NOT IN EVERY SEED (95 % interval"),
        (-0.01, 0.07, (3, 3), "a: no evidence of a difference from b: +3.0 points of x (95 %"),
        (0.0, 0.06, (3, 3), "+6.0, which includes 0; seed 0: +3.0, seed 1: +3.0)."),
        (-0.05, -0.01, (-3, -3), "a: 3.0 points of x BELOW b (95 % interval -5.0 to -1.0, which"),
        (-0.05, -0.01, (-7, 1), "BELOW b, BUT NOT IN EVERY SEED"),
    ],
)
def test_the_sentence_follows_from_the_interval(
    low: float, high: float, seeds: tuple[int, int], words: str
) -> None:
    by_seed = {seed: points / 100 for seed, points in enumerate(seeds)}
    text = sentence(pair(sum(by_seed.values()) / 2, Interval(low, high), by_seed), baseline=False)
    assert words in text
    assert text.startswith("D, a: ")


def test_without_an_interval_nothing_is_claimed() -> None:
    text = sentence(pair(0.1, None, {}), baseline=True)
    assert text == (
        "D, a: unknown whether it differs from the baseline b: +10.0 points of x, and there is too "
        "little data for an interval (no equal seeds)."
    )


# ---- answers ------------------------------------------------------------------------------------


def test_experiments_are_compared_in_pairs(write_run: Writer, tmp_path: Path) -> None:
    for seed in range(2):
        write_run(seed, accuracy=0.7)
    for seed in (1, 2):
        write_run(seed, accuracy=0.3, experiment="worse")
    groups = answers_in(tmp_path)
    table = parts(groups)[0]
    rows = cells(table)
    assert (rows[0]["first"], rows[0]["second"]) == ("vqa-rad", "worse")
    expected = 100 * (groups[0].mean() - groups[1].mean())
    assert float(rows[0]["difference, points"]) == pytest.approx(expected, abs=0.051)
    low, high = (float(part) for part in rows[0]["95 % interval"].split(" to "))
    assert 0 < low < expected < high
    # Only seed 1 exists on both sides.
    assert re.fullmatch(r"seed 1: \d+/\d+, p < 0\.001", rows[0]["McNemar per seed"])
    write_run(5, experiment="apart")
    assert "no equal seeds" in parts(answers_in(tmp_path))[0]
    assert "type size" not in [row["questions"] for row in rows]


def test_other_reasons_not_to_compare(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    write_run(0, experiment="bare", predictions=False)
    write_run(0, experiment="more", images=61)
    write_run(0, experiment="relaid", layout="mevf")
    write_run(0, experiment="untrained", untrained=True)
    write_run(0, experiment="unseen", split="validation")
    text = "\n".join(parts(answers_in(tmp_path)))
    missing = "bare with more; bare with untrained (UNTRAINED); bare with vqa-rad."
    assert f"predictions-test.jsonl is missing: {missing}" in text
    assert "because their questions differ: more with untrained (UNTRAINED)" in text
    assert re.search(r"\| untrained \(UNTRAINED\) +\| vqa-rad ", text)
    assert "unseen" not in text
    assert "because the layouts differ (mevf and osf)" in text


def test_sentences_agree_with_the_table(write_run: Writer, tmp_path: Path) -> None:
    for seed in range(2):
        write_run(seed, accuracy=0.4, experiment="base")
        write_run(seed, accuracy=0.7, experiment="more")
        write_run(seed, accuracy=0.2, experiment="less")
    listed, table, _legend = parts(answers_in(tmp_path), ["base"])
    less, more = listed.splitlines()
    overall = [row for row in cells(table) if row["questions"] == "overall"]
    assert [(row["first"], row["second"]) for row in overall] == [
        ("less", "base"),
        ("more", "base"),
    ]
    for text, row, side in ((less, overall[0], "BELOW"), (more, overall[1], "above")):
        assert text.startswith(
            f"- VQARAD osf [clean, test], {row['first']}: {row['difference, points'].lstrip('+-')} "
        )
        assert (
            f"points of accuracy {side} the baseline base (95 % interval {row['95 % interval']}, "
            in text
        )
        assert re.search(r"which excludes 0; seed 0: [+-]\S+, seed 1: [+-]\S+\)\.$", text)


def test_protocols_are_not_mixed(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="base")
    write_run(0, experiment="base", protocol="literature")
    write_run(0, experiment="other")
    assert not parts(answers_in(tmp_path))[0].startswith("- ")  # sentences only with a baseline
    found = parts(answers_in(tmp_path), ["base"])
    assert found[0].startswith("- VQARAD osf [clean, test], other: ")
    assert found[-1] == (
        "Not compared on VQARAD test, because the protocols differ (clean and literature (test "
        "answers visible)): other with base."
    )


# ---- searches -----------------------------------------------------------------------------------


def test_only_equal_seeds_are_paired(write_search: Writer, tmp_path: Path) -> None:
    # The seeds without a partner are far from the others: to count them would show.
    for seed, skill in ((0, 0.0), (1, 1.8), (2, 1.8)):
        write_search(seed, skill=skill)
    for seed, skill in ((1, 1.0), (2, 1.0), (3, 4.0)):
        write_search(seed, skill=skill, experiment="hard")
    full, hard = groups = searches_in(tmp_path)
    listed, table, _legend = parts(groups)
    (row,) = cells(table)
    assert (row["first"], row["second"], row["studies"]) == ("full", "hard", "60")
    # Only seeds 1 and 2 exist on both sides, and only they are compared.
    differences = {
        seed: 100
        * (full.records[seed].mean.precision[5] - hard.records[seed - 1].mean.precision[5])
        for seed in (1, 2)
    }
    assert row["seeds paired"] == "2 (2 without a partner left out)"
    printed = re.fullmatch(r"seed 1: (\S+), seed 2: (\S+)", row["difference per seed"])
    assert printed is not None
    assert [float(x) for x in printed.groups()] == pytest.approx(
        list(differences.values()), abs=0.051
    )
    value = float(row["difference of precision@5, points"])
    assert value == pytest.approx(fmean(differences.values()), abs=0.051)
    span = bootstrap_difference(
        precision(full.lines[1:]), precision(hard.lines[:2]), full.clusters(range(60))
    )
    assert span is not None
    printed_span = [float(part) for part in row["95 % interval"].split(" to ")]
    assert printed_span == pytest.approx([100 * span.low, 100 * span.high], abs=0.051)
    assert listed.startswith(
        f"- Phantom 112px [retrieval, test], full: {abs(value):.1f} points of precision@5 above "
        "hard (95 % interval "
    )
    assert "which excludes 0; seed 1: " in listed


def test_the_baseline_is_the_second_of_every_pair(write_search: Writer, tmp_path: Path) -> None:
    for name, skill in (("full", 1.5), ("no-ot", 1.5), ("random", 0.0), ("wide", 4.0)):
        write_search(0, skill=skill, experiment=name)
    # The same scores for two experiments: the difference is exactly 0.
    source, target = (
        tmp_path / "searches" / name / "clean" / "seed0" for name in ("full", "no-ot")
    )
    assert (source / "studies-test.jsonl").read_text() == (
        target / "studies-test.jsonl"
    ).read_text()
    listed, table, _legend = parts(searches_in(tmp_path), ["full"])
    lines = listed.splitlines()
    assert len(lines) == 3
    start = "- Phantom 112px [retrieval, test], "
    assert lines[0] == (
        f"{start}no-ot: no evidence of a difference from the baseline full: 0.0 points of "
        "precision@5 (95 % interval 0.0 to 0.0, which includes 0; seed 0: 0.0)."
    )
    assert lines[1].startswith(f"{start}random: ")
    assert "BELOW the baseline full (" in lines[1]
    assert " above the baseline full (" in lines[2]
    assert len(table.splitlines()) == 2 + 3


def test_what_the_baseline_did_not_score(write_search: Writer, tmp_path: Path) -> None:
    write_search(0)
    write_search(0, experiment="other", dataset="ROCO")
    found = parts(searches_in(tmp_path), ["full"])
    assert found == [
        "Nothing is compared on ROCO test, because the baseline full has no run there."
    ]


def test_reasons_not_to_compare_searches(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, experiment="a")
    write_search(1, experiment="b")
    write_search(0, experiment="c", lines=False)
    write_search(0, experiment="d", studies=72)
    write_search(0, experiment="e", layout="224px")
    write_search(0, experiment="f", split="validation")
    for name in ("g", "h"):
        write_search(0, experiment=name, studies=29, dataset="Small")
    text = "\n".join(parts(searches_in(tmp_path)))
    assert "because they have no equal seeds: a with b." in text
    assert "studies-test.jsonl is missing: a with c; b with c; c with d." in text
    assert "because their studies differ: a with d; b with d." in text
    assert "because the layouts differ (112px and 224px): a with e; b with e; c with e" in text
    assert "because there are fewer than 30 studies: g with h." in text
    assert "with f" not in text
    assert "| first" not in text


def test_studies_are_paired_whatever_their_order(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, experiment="a")
    path = write_search(0, experiment="b", skill=1.0)
    before = parts(searches_in(tmp_path))
    change_lines(path, lambda lines: lines.reverse())
    assert parts(searches_in(tmp_path)) == before
