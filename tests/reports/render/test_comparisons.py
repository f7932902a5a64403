"""Comparisons of answers with a baseline; those of all pairs are tested with the whole table."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.render.comparisons import comparisons

Writer = Callable[..., Path]


def test_sentences_agree_with_the_table(write_run: Writer, tmp_path: Path) -> None:
    for seed in range(2):
        write_run(seed, accuracy=0.4, experiment="base")
        write_run(seed, accuracy=0.7, experiment="more")
        write_run(seed, accuracy=0.2, experiment="less")
    listed, table, _legend = comparisons(collect(tmp_path), ["base"])
    less, more = listed.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    overall = [row for row in rows if row[5] == "overall"]
    assert [(row[3], row[4]) for row in overall] == [("less", "base"), ("more", "base")]
    for sentence, row, side in ((less, overall[0], "BELOW"), (more, overall[1], "above")):
        assert sentence.startswith(f"- VQARAD osf [clean, test], {row[3]}: {row[6].lstrip('+-')} ")
        assert f"points of accuracy {side} the baseline base (95 % interval {row[7]}, " in sentence
        assert re.search(r"which excludes 0; seed 0: [+-]\S+, seed 1: [+-]\S+\)\.$", sentence)


def test_all_pairs_have_no_sentences(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="a")
    write_run(0, experiment="b")
    assert len(comparisons(collect(tmp_path))) == 2  # table and legend


def test_protocols_are_not_mixed_with_a_baseline(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="base")
    write_run(0, experiment="base", protocol="literature")
    write_run(0, experiment="other")
    parts = comparisons(collect(tmp_path), ["base"])
    assert parts[0].startswith("- VQARAD osf [clean, test], other: ")
    assert parts[-1] == (
        "Not compared on VQARAD test, for the protocols differ (clean against literature (test "
        "answers visible)): other with base."
    )
