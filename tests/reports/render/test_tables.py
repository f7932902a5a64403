from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import stdev

import pytest

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.records.run import Durations, Hardware
from amif_lightning.reports.render.tables import HEADER, markdown, report, results
from amif_lightning.reports.render.verdicts import verdict


def _cells(table: str) -> list[dict[str, str]]:
    lines = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()
    ]
    return [dict(zip(lines[0], row, strict=True)) for row in lines[2:]]


def test_first_lines_are_the_verdicts(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0)
    write_run(0, experiment="other")
    groups = collect(tmp_path)
    lines = report(groups).split("\n")
    assert lines[0] == verdict(groups[0])
    assert lines[2] == verdict(groups[1])


def test_every_row_carries_what_a_score_must_carry(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in range(3):
        write_run(seed, test_runs=1 + seed // 2)
    (group,) = groups = collect(tmp_path)
    rows = _cells(results(groups))
    assert tuple(rows[0]) == HEADER
    assert [row["questions"] for row in rows] == [
        "overall",
        "closed (answer_type field)",
        "open (answer_type field)",
        "closed (answer is yes or no)",
        "open (answer is not yes or no)",
        "type modality",
        "type organ",
        "type size",
    ]
    overall, counts = rows[0], group.correct()
    deviation = 100 * stdev([count / 300 for count in counts])
    mean = 100 * sum(counts) / 900
    assert overall["accuracy % (± std over seeds)"] == f"{mean:.1f} ± {deviation:.1f}"
    assert re.fullmatch(r"\d\d\.\d-\d\d\.\d", overall["95 % interval"])
    assert overall["right of asked, per seed"] == ", ".join(map(str, counts)) + " of 300"
    assert overall["ceiling %"] == "75.0 (225 of 300)"
    floor = group.first.baselines.question_only["overall"].correct
    assert overall["question-only baseline %"] == f"{floor / 3:.1f} ({floor} of 300)"
    assert overall["same-image copy %"] == "25.0 (75 of 300)"
    assert re.fullmatch(r"\d\d\.\d \(\d+, \d+, \d+ of 300\)", overall["shuffled images %"])
    assert (overall["seeds"], overall["test runs"]) == ("3", "1, 1, 2")
    assert overall["hardware"] == "Xeon, 2 cores, 8 GiB"
    assert overall["time per seed"].startswith("train 13 min, test 31 s")
    assert {row["protocol"] for row in rows} == {"clean"}


def test_small_strata_have_no_percentage(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0)
    row = _cells(results(collect(tmp_path)))[-1]
    assert row["questions"] == "type size"
    assert row["accuracy % (± std over seeds)"] == row["95 % interval"] == "-"
    assert re.fullmatch(r"\d of 6", row["right of asked, per seed"])
    assert re.fullmatch(r"\d of 6", row["ceiling %"])
    assert re.fullmatch(r"\d of 6", row["shuffled images %"])


def test_literature_is_labelled_in_every_row(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run(0)
    write_run(0, protocol="literature")
    rows = _cells(results(collect(tmp_path)))
    labelled = [row for row in rows if row["protocol"] == "literature (test answers visible)"]
    assert len(labelled) == len(rows) / 2


def test_accelerators_and_untrained_weights_are_printed(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    machine = Hardware(cpu="Xeon", cores=16, memory_gib=None, gpu="H200", devices=2)
    write_run(0, hardware=machine, untrained=True, control=None, ceiling=None)
    row = _cells(results(collect(tmp_path)))[0]
    assert row["hardware"] == "2 x H200 (Xeon, 16 cores)"
    assert row["experiment"] == "vqa-rad (UNTRAINED)"
    assert row["shuffled images %"] == "not run"
    assert row["ceiling %"] == "-"


def test_experiments_are_compared_in_pairs(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for seed in range(2):
        write_run(seed, accuracy=0.7)
    for seed in (1, 2):
        write_run(seed, accuracy=0.3, experiment="worse")
    groups = collect(tmp_path)
    table = report(groups).split("## Comparisons\n\n")[1].split("\n\n")[0]
    rows = _cells(table)
    assert (rows[0]["first"], rows[0]["second"]) == ("vqa-rad", "worse")
    expected = 100 * float(groups[0].accuracy() - groups[1].accuracy())
    assert float(rows[0]["difference, points"]) == pytest.approx(expected, abs=0.051)
    low, high = (float(part) for part in rows[0]["95 % interval"].split(" to "))
    assert 0 < low < expected < high
    # Only seed 1 exists on both sides.
    assert re.fullmatch(r"seed 1: \d+/\d+, p < 0\.001", rows[0]["McNemar per seed"])
    assert "type size" not in [row["questions"] for row in rows]


def test_untrained_weights_are_marked_in_a_comparison(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run(0)
    write_run(0, experiment="bare", untrained=True)
    write_run(0, experiment="more", images=61)
    text = report(collect(tmp_path))
    rows = _cells(text.split("## Comparisons\n\n")[1].split("\n\n")[0])
    assert {(row["first"], row["second"]) for row in rows} == {("bare (UNTRAINED)", "vqa-rad")}
    assert "different questions: bare (UNTRAINED) with more; more with vqa-rad." in text


def test_seeds_without_a_partner_are_said(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0)
    write_run(1, experiment="other")
    assert "no equal seeds" in report(collect(tmp_path))


def test_protocols_are_never_mixed(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0)
    write_run(0, protocol="literature")
    text = report(collect(tmp_path))
    assert "| first" not in text
    assert (
        "Not compared on VQARAD test, for the protocols differ "
        "(clean against literature (test answers visible)): vqa-rad with vqa-rad."
    ) in text


def test_other_reasons_not_to_compare(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0)
    write_run(0, experiment="bare", predictions=False)
    write_run(0, experiment="more", images=61)
    write_run(0, experiment="relaid", layout="mevf")
    text = report(collect(tmp_path))
    assert "predictions-test.jsonl is missing: bare with more; bare with vqa-rad." in text
    assert "for they answer different questions: more with vqa-rad." in text
    assert "for the layouts differ (mevf against osf)" in text


def test_one_configuration_has_no_comparison(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run(0)
    write_run(0, split="validation")
    assert "## Comparisons" not in report(collect(tmp_path))


def test_notes_carry_warnings_provenance_and_missing_files(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run(0, git_dirty=True)
    path = write_run(1, predictions=False, config={"seed_everything": 1, "model": {"lr": 2}})
    notes = report(collect(tmp_path)).split("## Notes")[1]
    assert f"{path.with_name('predictions-test.jsonl')} is missing" in notes
    assert "commit 0123456789 with uncommitted changes, 0123456789" in notes
    assert "425 candidates from train, majority answer 'no' 20.0 (60 of 300)" in notes
    assert "configurations differ in model.init_args.lr, model.lr." in notes
    assert notes.count("202 of 203 test images") == 1


def test_what_must_differ_between_seeds_is_no_difference(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in range(2):
        writer = {"class_path": "ResultWriter", "init_args": {"seed": seed, "folder": f"s{seed}"}}
        start = {"init_from": f"runs/before/clean/seed{seed}/best.ckpt"}
        write_run(
            seed,
            config={"seed_everything": seed, "trainer": {"callbacks": [writer]}, "model": start},
        )
    assert "configurations differ" not in report(collect(tmp_path))


def test_seeds_that_started_from_one_checkpoint_of_another_seed_differ(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    for seed, start in ((1, "seed1"), (2, "seed1")):
        write_run(seed, config={"init_from": f"runs/{start}/best.ckpt"})
    assert "configurations differ in init_from." in report(collect(tmp_path))


def test_training_before_stands_beside_training(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run(0, durations=Durations(train=180.0, test=5.0, before=120.0))
    assert "train before 2 min, train 3 min, test 5 s" in report(collect(tmp_path))


def test_a_control_of_some_seeds_only_is_not_averaged(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run(0)
    write_run(1, control=None)
    groups = collect(tmp_path)
    assert {row["shuffled images %"] for row in _cells(results(groups))} == {"only 1 of 2 seeds"}
    text = report(groups)
    assert "not run" not in text
    assert text.count("only 1 of 2 seeds have the") == 2  # in the verdict and in the notes
    assert "was run" not in text


def test_markdown_cells_cannot_break_the_table() -> None:
    table = markdown(["a", "b"], [["x|y", "two\nlines"]])
    assert table.splitlines()[2] == "| x\\|y | two lines |"
    assert len({len(line) for line in table.splitlines()}) == 1
