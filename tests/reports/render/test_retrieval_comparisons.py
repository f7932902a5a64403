from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.records.retrieval import studies_path
from amif_lightning.reports.render.retrieval_comparisons import retrieval_comparisons
from tests.reports.analysis.test_retrieval_groups import slow_bootstrap, slow_mean

Writer = Callable[..., Path]


def _row(table: str) -> dict[str, str]:
    header, _, row = ([c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines())
    return dict(zip(header, row, strict=True))


def test_a_pair_agrees_with_a_slow_reference(write_search: Writer, tmp_path: Path) -> None:
    # The seeds without a partner are far from the others: to count them would show.
    for seed, skill in ((0, 0.0), (1, 1.8), (2, 1.8)):
        write_search(seed, skill=skill)
    for seed, skill in ((1, 1.0), (2, 1.0), (3, 4.0)):
        write_search(seed, skill=skill, experiment="hard")
    full, hard = groups = collect_searches(tmp_path)
    listed, table, _legend = retrieval_comparisons(groups)
    row = _row(table)
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
    one, two = full.lines[1:], hard.lines[:2]
    low, high = slow_bootstrap(
        lambda places: 100 * (slow_mean(one, places) - slow_mean(two, places)),
        full.together,
        draws=800,
    )
    span = [float(part) for part in row["95 % interval"].split(" to ")]
    assert span == pytest.approx([low, high], abs=0.1 * (high - low))
    assert listed.startswith(
        f"- Phantom 112px [retrieval, test], full: {abs(value):.1f} points of precision@5 above "
        "hard (95 % interval "
    )
    assert "which excludes 0; seed 1: " in listed


def test_every_pair_has_its_sentence(write_search: Writer, tmp_path: Path) -> None:
    for number, skill in enumerate((0.5, 1.0, 2.0)):
        write_search(0, skill=skill, experiment=f"e{number}")
    listed = retrieval_comparisons(collect_searches(tmp_path))[0].splitlines()
    heads = [line.split("], ")[1].split(" ")[0] for line in listed]
    assert heads == ["e0:", "e0:", "e1:"]
    assert "BELOW e2" in listed[1]


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
    listed, table, _legend = retrieval_comparisons(collect_searches(tmp_path), ["full"])
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
    parts = retrieval_comparisons(collect_searches(tmp_path), ["full"])
    assert parts == ["Nothing is compared on ROCO test, for no run of the baseline full is there."]


def test_reasons_not_to_compare(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, experiment="a")
    write_search(1, experiment="b")
    write_search(0, experiment="c", lines=False)
    write_search(0, experiment="d", studies=72)
    write_search(0, experiment="e", layout="224px")
    write_search(0, experiment="f", split="validation")
    text = "\n".join(retrieval_comparisons(collect_searches(tmp_path)))
    assert "for they have no equal seeds: a with b." in text
    assert "studies-test.jsonl is missing: a with c; b with c; c with d." in text
    assert "for they search different studies: a with d; b with d." in text
    assert "for the layouts differ (112px against 224px): a with e; b with e; c with e" in text
    assert "with f" not in text
    assert "| first" not in text


def test_small_splits_are_not_compared(write_search: Writer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_search(0, experiment=name, studies=29)
    (text,) = retrieval_comparisons(collect_searches(tmp_path))
    assert text.endswith("for fewer than 30 studies decide nothing: a with b.")


def test_studies_are_paired_whatever_their_order(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, experiment="a")
    path = write_search(0, experiment="b", skill=1.0)
    before = retrieval_comparisons(collect_searches(tmp_path))
    file = studies_path(path.parent, "test")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    assert retrieval_comparisons(collect_searches(tmp_path)) == before
