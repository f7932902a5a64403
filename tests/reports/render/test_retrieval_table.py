from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import pytest

from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.render.tables import report, retrieval_results

Writer = Callable[..., Path]


def _cells(table: str) -> list[dict[str, str]]:
    lines = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()
    ]
    return [dict(zip(lines[0], row, strict=True)) for row in lines[2:]]


def test_every_row_carries_what_a_score_must_carry(write_search: Writer, tmp_path: Path) -> None:
    for seed in range(3):
        write_search(seed, test_runs=1 + seed // 2)
    (group,) = groups = collect_searches(tmp_path)
    (row,) = _cells(retrieval_results(groups))
    assert list(row)[4:10] == [
        *(f"precision@{k} %" for k in (1, 5, 10)),
        *(f"recall@{k} %" for k in (1, 5, 10)),
    ]
    for measure in ("precision", "recall"):
        for k in (1, 5, 10):
            values = [100 * getattr(r.mean, measure)[k] for r in group.records]
            cell = re.fullmatch(
                r"(\d+\.\d) ± (\d+\.\d) \((\d+\.\d)-(\d+\.\d)\)", row[f"{measure}@{k} %"]
            )
            assert cell is not None
            mean, deviation, low, high = map(float, cell.groups())
            assert abs(mean - fmean(values)) <= 0.051
            assert abs(deviation - stdev(values)) <= 0.051
            assert low < mean < high
    assert (row["data"], row["split"], row["experiment"]) == ("Phantom 112px", "test", "full")
    assert row["studies"] == "60"
    assert row["chance %"] == "precision 8.3, recall@1 1.7, recall@5 8.3, recall@10 16.7"
    assert row["best possible precision@5 %"] == "100.0"
    assert row["zero-shot"] == "33.3 (20, 20, 20 of 60)"
    assert row["teacher KL, nats"] == "0.260 ± 0.010"
    assert (row["seeds"], row["test runs"]) == ("3", "1, 1, 2")
    assert row["hardware"] == "Xeon, 2 cores, 8 GiB"
    assert row["time per seed"] == "train 3 min, test 8 s"


def test_what_is_not_there_is_a_dash(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, zero_shot=None, teacher_kl=None, untrained=True, lines=False)
    (row,) = _cells(retrieval_results(collect_searches(tmp_path)))
    assert row["zero-shot"] == row["teacher KL, nats"] == "-"
    assert row["experiment"] == "full (UNTRAINED)"
    assert re.fullmatch(r"\d+\.\d", row["precision@5 %"])  # one seed, no lines


def test_few_studies_have_no_percentage(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, studies=29)
    (row,) = _cells(retrieval_results(collect_searches(tmp_path)))
    assert row["precision@5 %"] == row["recall@1 %"] == row["chance %"] == "-"
    assert row["zero-shot"] == "10 of 29"


def test_notes_carry_warnings_provenance_and_missing_files(
    write_search: Writer, tmp_path: Path
) -> None:
    write_search(0, git_dirty=True)
    path = write_search(1, lines=False, config={"seed_everything": 1, "model": {"lr": 2}})
    notes = report([], collect_searches(tmp_path)).split("## Notes")[1]
    assert f"{path.with_name('studies-test.jsonl')} is missing" in notes
    assert "seeds 0, 1, commit 0123456789 with uncommitted changes, 0123456789" in notes
    assert "geomloss 0.3.1" in notes
    assert "configurations differ in model.init_args.labels, model.lr." in notes
    assert notes.count("3 reports were cut.") == 1


def test_a_report_of_searches_alone_has_no_table_of_answers(
    write_search: Writer, tmp_path: Path
) -> None:
    write_search(0)
    text = report([], collect_searches(tmp_path))
    assert text.startswith("Phantom 112px [retrieval, test], full, 1 seed: evidence")
    assert re.findall("^## .*", text, re.MULTILINE) == ["## Image-text retrieval", "## Notes"]
    assert "Accuracy" not in text


@pytest.mark.parametrize("nested", [True, False])  # as the command line and as Python write it
def test_the_teacher_stands_beside_its_divergence(
    write_search: Writer, tmp_path: Path, nested: bool
) -> None:
    """Divergences of different teachers stand in one column and say nothing of each other."""
    options = {"teacher": "shuffled_vectors"}
    write_search(0, config={"data": {"init_args": options} if nested else options})
    text = retrieval_results(collect_searches(tmp_path))
    assert "0.250 (shuffled_vectors)" in text
