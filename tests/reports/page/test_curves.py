from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.reports.page.curves import ANSWERING, RETRIEVAL, curves, read_scalars

Writer = Callable[..., Path]


def test_a_resumed_run_goes_on_where_the_later_file_starts(
    write_events: Writer, tmp_path: Path
) -> None:
    # The first process went on to step 350 after its last checkpoint, of step 300.
    first = [(100, 1.0), (200, 0.75), (300, 0.5), (350, 9.0)]
    write_events(tmp_path, {"val/answer_loss": first, "train/gate": [(10, 0.5)]})
    write_events(tmp_path, {"val/answer_loss": [(300, 0.25), (400, 0.125)]})
    found = read_scalars(tmp_path, ["val/answer_loss", "val/overall"])
    assert found == {"val/answer_loss": ((100, 1.0), (200, 0.75), (300, 0.25), (400, 0.125))}


def test_events_of_a_test_take_nothing_away(write_events: Writer, tmp_path: Path) -> None:
    write_events(tmp_path, {"val/overall": [(9, 0.5)]})
    write_events(tmp_path, {"test/overall": [(0, 0.75)]})
    assert read_scalars(tmp_path, ["val/overall"]) == {"val/overall": ((9, 0.5),)}


def test_a_validation_afterwards_takes_nothing_away(write_events: Writer, tmp_path: Path) -> None:
    write_events(tmp_path, {"val/overall": [(9, 0.5), (18, 0.75)], "train/loss": [(10, 1.0)]})
    write_events(tmp_path, {"val/overall": [(0, 0.75)]})
    assert read_scalars(tmp_path, ["val/overall"]) == {"val/overall": ((9, 0.5), (18, 0.75))}


def test_many_values_are_all_kept_and_those_that_are_no_number_left_out(
    write_events: Writer, tmp_path: Path
) -> None:
    points = [(step, math.nan if step == 7 else step / 2) for step in range(12000)]
    write_events(tmp_path, {"train/loss": points})
    (found,) = read_scalars(tmp_path, ["train/loss"]).values()
    assert [step for step, _ in found] == [step for step in range(12000) if step != 7]


def test_a_file_that_ends_in_the_middle_gives_what_it_holds(
    write_events: Writer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_events(tmp_path, {"val/overall": [(1, 0.25), (2, 0.5), (3, 0.75)]})
    path.write_bytes(path.read_bytes()[:-5])
    assert read_scalars(tmp_path, ["val/overall"]) == {"val/overall": ((1, 0.25), (2, 0.5))}
    assert capfd.readouterr().err == ""


def test_rows_of_panels_and_a_sentence_for_runs_without_events(
    write_events: Writer, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    write_events(tmp_path / "a", {"val/overall": [(5, 0.25)], "val/answer_loss": [(5, 2.0)]})
    write_events(tmp_path / "b", {"val/overall": [(5, 0.5)]})
    runs = [(0, tmp_path / "a"), (1, tmp_path / "b"), (2, tmp_path / "c")]
    rows, remarks = curves([("one", runs), ("two", [(0, tmp_path / "c")])], ANSWERING)
    assert [row.measure.tag for row in rows] == ["val/overall", "val/answer_loss"]
    ((panel,), (losses,)) = (row.panels for row in rows)
    assert panel.name == "one"
    # Shares are drawn in percent, losses as they are.
    assert [(c.seed, c.points) for c in panel.curves] == [(0, ((5, 25.0),)), (1, ((5, 50.0),))]
    assert [(c.seed, c.points) for c in losses.curves] == [(0, ((5, 2.0),))]
    assert [remark.split(":")[0] for remark in remarks] == ["one, seed 2", "two, seed 0"]
    assert all(str(tmp_path / "c") in remark for remark in remarks)
    assert curves([("one", runs[:1])], RETRIEVAL)[0] == []
