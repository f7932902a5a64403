from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from amif_lightning.reports.page.provenance import source, unfinished
from tests.reports.conftest import answers_in, searches_in

Writer = Callable[..., Path]


def test_what_records_say_of_their_runs(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    write_run(1, test_runs=2, git_dirty=True, predictions=False)
    (group,) = answers_in(tmp_path)
    found = source(group)
    facts = found.facts
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert facts["commit"] == f"{commit} (clean), {commit} (with uncommitted changes)"
    assert facts["seeds"] == "0, 1"
    assert facts["test runs"] == "1, 2"
    assert facts["hardware"] == "Xeon, 2 cores, 8 GiB"
    assert facts["time per seed"] == "train 13 min, test 31 s, control 12 s"
    assert facts["versions"] == "python 3.11.7, torch 2.8.0, lightning 2.6.6"
    assert str(group.runs[0].path.parent) in facts["run folders"]
    # The heads of the Markdown's notes are the page's headings.
    assert found.remarks[-1] == "202 of 203 test images also occur in train (official split)."
    assert any("predictions-test.jsonl is missing" in remark for remark in found.remarks)
    assert not any(remark.startswith(group.label) for remark in found.remarks)
    assert yaml.safe_load(found.config) == group.first.config
    assert (found.where, found.config_seed) == ("VQARAD osf [clean, test]", 0)


def test_searches_and_records_without_a_work_tree(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, git_commit=None, git_dirty=None, checkpoint=None)
    (group,) = searches_in(tmp_path)
    found = source(group)
    assert found.facts["commit"] == "unknown"
    assert found.facts["weights"] == "no checkpoint"
    assert "3 reports were cut." in found.remarks


def test_folders_that_have_no_result_are_found(write_run: Writer, tmp_path: Path) -> None:
    finished = write_run(0).with_name("config.yaml")
    waiting = tmp_path / "runs" / "other" / "clean" / "seed0" / "config.yaml"
    waiting.parent.mkdir(parents=True)
    for file in (finished, waiting):
        file.write_text("seed_everything: 0\n")
    assert unfinished(tmp_path) == [waiting.parent]
