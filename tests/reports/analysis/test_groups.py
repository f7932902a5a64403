from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.groups import collect, stratum_name
from amif_lightning.reports.analysis.statistics import wilson


def test_seeds_are_gathered_and_sorted(write_run: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        write_run(seed)
    write_run(0, experiment="other")
    write_run(0, protocol="literature")
    groups = collect(tmp_path)
    assert [(g.key.protocol, g.key.experiment) for g in groups] == [
        ("clean", "other"),
        ("clean", "vqa-rad"),
        ("literature", "vqa-rad"),
    ]
    assert [run.record.seed for run in groups[1].runs] == [0, 1, 2]
    assert groups[1].strata == [
        "overall",
        "closed/field",
        "open/field",
        "closed/answer",
        "open/answer",
        "type/modality",
        "type/organ",
        "type/size",
    ]


def test_numbers_come_from_whole_counts(write_run: Callable[..., Path], tmp_path: Path) -> None:
    paths = [write_run(seed) for seed in range(3)]
    counts = [json.loads(path.read_text())["scores"]["overall"]["correct"] for path in paths]
    (group,) = collect(tmp_path)
    assert group.correct() == counts
    assert group.accuracy() == Fraction(sum(counts), 900)
    span = group.interval()
    assert span is not None
    assert span.low < float(group.accuracy()) < span.high


def test_one_seed_has_wilsons_interval(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0, predictions=False)
    (group,) = collect(tmp_path)
    assert group.interval() == wilson(group.correct()[0], 300)
    assert group.deviation() is None


def test_missing_predictions_are_known_by_name(
    write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run(0)
    path = write_run(1, predictions=False)
    (group,) = collect(tmp_path)
    assert group.missing == [path.with_name("predictions-test.jsonl")]
    assert group.interval() is None
    with pytest.raises(ValueError, match="missing"):
        _ = group.lines


def test_an_empty_stratum_is_not_printed(
    write_run: Callable[..., Path], tmp_path: Path, edit: Callable[..., None]
) -> None:
    path = write_run(0, predictions=False)
    parts = ("scores", "control", "ceiling", "baselines.question_only", "baselines.same_image_copy")
    for part in (*parts, "baselines.majority"):
        edit(path, f"{part}.type/none", {"correct": 0, "count": 0})
    (group,) = collect(tmp_path)
    assert "type/none" not in group.strata


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none is not a folder"):
        collect(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no result-\*\.json"):
        collect(tmp_path)


def test_two_records_of_one_seed(write_run: Callable[..., Path], tmp_path: Path) -> None:
    path = write_run(3)
    shutil.copytree(path.parent, tmp_path / "backup")
    with pytest.raises(UserError, match="are both seed 3 of experiment 'vqa-rad'"):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": 424}, "differ in 'candidates'"),
        ({"untrained": True}, "differ in 'untrained'"),
        ({"images": 61}, "differ in the number of questions per stratum"),
    ],
)
def test_runs_that_are_not_seeds_of_one_configuration(
    write_run: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_run(0)
    write_run(1, **changes)
    with pytest.raises(UserError, match=message):
        collect(tmp_path)


def test_other_questions_with_equal_counts(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(0)
    file = write_run(1).with_name("predictions-test.jsonl")
    file.write_text(file.read_text().replace("VQARAD/test/7", "VQARAD/test/9007"))
    with pytest.raises(UserError, match="differ in the questions they answer"):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("field", "table"),
    [
        ("correct", "scores"),
        ("control_correct", "control"),
        ("baseline_correct", "baselines.question_only"),
    ],
)
def test_predictions_must_give_the_records_counts(
    write_run: Callable[..., Path], tmp_path: Path, field: str, table: str
) -> None:
    file = write_run(0).with_name("predictions-test.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[5][field] = not lines[5][field]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match=rf"another value of '{table}\.overall'"):
        collect(tmp_path)


def test_a_record_of_no_questions(
    write_run: Callable[..., Path], tmp_path: Path, edit: Callable[..., None]
) -> None:
    path = write_run(0, predictions=False)
    for part in (
        "scores",
        "baselines.question_only",
        "baselines.same_image_copy",
        "baselines.majority",
    ):
        edit(path, part, {"overall": {"correct": 0, "count": 0}})
    edit(path, "control", None)
    edit(path, "ceiling", None)
    with pytest.raises(UserError, match="no question was scored"):
        collect(tmp_path)


def test_stratum_names_state_the_rule() -> None:
    assert stratum_name("closed/field") == "closed (answer_type field)"
    assert stratum_name("open/answer") == "open (answer is not yes or no)"
    assert stratum_name("type/organ system") == "type organ system"
