"""Groups of seeds of both kinds: what they share, their scores, intervals and levels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.evaluation import Count
from amif_lightning.reports.analysis.groups import collect, subset_name
from amif_lightning.reports.analysis.statistics import bootstrap_difference, bootstrap_mean, wilson
from amif_lightning.reports.records.retrieval import StudyLine
from tests.reports.conftest import Writer, answers_in, change_lines, edit, searches_in


@pytest.fixture(params=["answers", "searches"])
def write_any(request: pytest.FixtureRequest) -> Writer:
    """Write a run of either kind."""
    fixture = "write_run" if request.param == "answers" else "write_search"
    return request.getfixturevalue(fixture)


def precision(runs: Sequence[Sequence[StudyLine]]) -> list[list[float]]:
    """Precision@5 over both directions of each run and study."""
    return [
        [(ln.image_to_text.precision[5] + ln.text_to_image.precision[5]) / 2 for ln in run]
        for run in runs
    ]


# ---- gathering --------------------------------------------------------------------------------


def test_seeds_are_gathered_and_sorted(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    for seed in (2, 0, 1):
        write_run(seed)
        write_search(seed)
    write_run(0, experiment="other")
    write_run(0, protocol="literature")
    write_search(0, experiment="bare")
    answers, searches = collect(tmp_path)
    assert [(g.key.protocol, g.key.experiment) for g in answers] == [
        ("clean", "other"),
        ("clean", "vqa-rad"),
        ("literature", "vqa-rad"),
    ]
    assert [group.key.experiment for group in searches] == ["bare", "full"]
    for group in (answers[1], searches[1]):
        assert [record.seed for record in group.records] == [0, 1, 2]
    assert answers[2].label == "VQARAD osf [literature (test answers visible), test]"
    assert searches[1].label == "Phantom 112px [retrieval, test]"
    assert answers[1].subsets == [
        "overall",
        "closed/field",
        "open/field",
        "closed/answer",
        "open/answer",
        "type/modality",
        "type/organ",
        "type/size",
    ]
    assert searches[1].subsets == ["overall"]


def test_an_empty_subset_is_not_printed(write_run: Writer, tmp_path: Path) -> None:
    path = write_run(0, predictions=False)
    baselines = [f"baselines.{n}" for n in ("question_only", "same_image_copy", "majority")]
    for part in ("scores", "control", "ceiling", *baselines):
        edit(path, f"{part}.type/none", {"correct": 0, "count": 0})
    (group,) = answers_in(tmp_path)
    assert "type/none" not in group.subsets


def test_subset_names_state_the_rule() -> None:
    assert subset_name("closed/field") == "closed (answer_type field)"
    assert subset_name("open/answer") == "open (answer is not yes or no)"
    assert subset_name("type/organ system") == "type organ system"


def test_two_records_of_one_seed(write_any: Writer, tmp_path: Path) -> None:
    path = write_any(3)
    shutil.copytree(path.parent, tmp_path / "backup")
    with pytest.raises(UserError, match=r"are both seed 3 of experiment '(vqa-rad|full)'"):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("write_run", {"candidates": 424}, "differ in 'candidates'"),
        ("write_run", {"untrained": True}, "differ in 'untrained'"),
        ("write_run", {"images": 61}, "differ in 'questions.overall'"),
        ("write_search", {"studies": 72}, "differ in 'studies'"),
        ("write_search", {"untrained": True}, "differ in 'untrained'"),
        ("write_search", {"teacher_kl": None}, "differ in 'teacher_kl or its lack'"),
        ("write_search", {"zero_shot": None}, "differ in 'zero_shot or its lack'"),
    ],
)
def test_runs_that_are_not_seeds_of_one_configuration(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, changes: dict[str, Any], message: str
) -> None:
    write = request.getfixturevalue(kind)
    write(0)
    write(1, **changes)
    with pytest.raises(UserError, match=message):
        collect(tmp_path)


@pytest.mark.parametrize("field", ["id", "cluster"])
def test_seeds_that_score_other_lines(write_any: Writer, tmp_path: Path, field: str) -> None:
    write_any(0)
    names = {"id": ("question_id", "study_id"), "cluster": ("image", "group")}[field]

    def other(lines: list[dict[str, Any]]) -> None:
        (name,) = set(names) & set(lines[5])
        lines[5][name] = "another"

    change_lines(write_any(1), other)
    with pytest.raises(UserError, match=r"differ in the scored (questions|studies)"):
        collect(tmp_path)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("write_run", "scores.overall.correct"),
        ("write_run", "control.overall.correct"),
        ("write_run", "baselines.question_only.overall.correct"),
        ("write_run", "knowledge.overall.mass"),
        ("write_search", "image_to_text.precision.5"),
        ("write_search", "chance.precision.5"),
        ("write_search", "ceiling.5"),
        ("write_search", "zero_shot.correct"),
        ("write_search", "pairs.cosine"),
    ],
)
def test_lines_must_give_the_records_numbers(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, field: str
) -> None:
    options: dict[str, Any] = {"read": True} if kind == "write_run" else {"pairs": {}}
    path = request.getfixturevalue(kind)(0, **options)
    *parents, last = field.split(".")
    inner = data = json.loads(path.read_text())
    for parent in parents:
        inner = inner[parent]
    inner[last] -= 1 if last == "correct" else 1e-4
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=rf"another value of '{'.'.join(parents)}"):
        collect(tmp_path)


def test_a_record_of_no_questions(write_run: Writer, tmp_path: Path) -> None:
    path = write_run(0, predictions=False)
    for part in ("question_only", "same_image_copy", "majority"):
        edit(path, f"baselines.{part}", {"overall": {"correct": 0, "count": 0}})
    edit(path, "scores", {"overall": {"correct": 0, "count": 0}})
    edit(path, "control", None)
    edit(path, "ceiling", None)
    with pytest.raises(UserError, match="no question was scored"):
        collect(tmp_path)


# ---- scores -----------------------------------------------------------------------------------


def test_scores_are_those_of_the_records(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    paths = [write_run(seed) for seed in range(3)]
    for seed in range(3):
        write_search(seed)
    (answers,), (searches,) = collect(tmp_path)
    counts = [json.loads(path.read_text())["scores"]["overall"]["correct"] for path in paths]
    assert answers.right() == counts
    assert answers.mean() == pytest.approx(sum(counts) / 900)
    assert answers.level("ceiling") == 0.75
    values = [record.mean.precision[5] for record in searches.records]
    assert searches.mean() == pytest.approx(fmean(values))
    assert searches.deviation() == pytest.approx(stdev(values))
    assert searches.level("baseline") == pytest.approx(5 / 60)
    for group in (answers, searches):
        span = group.interval()
        assert span is not None
        assert span.low < group.mean() < span.high


def test_one_seed_of_answers_has_wilsons_interval(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, predictions=False)
    (group,) = answers_in(tmp_path)
    assert group.interval() == wilson(Count(group.right()[0], 300))
    assert group.deviation() is None


def test_missing_lines_are_named(write_any: Writer, tmp_path: Path) -> None:
    write_any(0)
    (file,) = write_any(1).parent.glob("*.jsonl")
    file.unlink()
    (group,) = [group for groups in collect(tmp_path) for group in groups]
    assert group.missing == [file]
    assert group.interval() is None
    above = group.above("baseline")
    assert above is not None
    assert above.span is None
    with pytest.raises(ValueError, match="missing"):
        _ = group.lines


def test_intervals_resample_patients(write_search: Writer, tmp_path: Path) -> None:
    for seed in range(2):
        write_search(seed)
    (group,) = searches_in(tmp_path)
    patients = [line.group for line in group.lines[0]]
    assert len(set(patients)) == 30
    found = precision(group.lines)
    chance = [[line.relevant / 60 for line in group.lines[0]]]
    assert group.interval() == bootstrap_mean(found, patients)
    gap = group.above("baseline")
    assert gap is not None
    assert gap.span == bootstrap_difference(found, chance, patients)
