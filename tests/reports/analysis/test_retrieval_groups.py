from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.records.retrieval import StudyLine, studies_path

Writer = Callable[..., Path]


def slow_mean(runs: list[tuple[StudyLine, ...]], places: list[int]) -> float:
    """Precision@5 over both directions, the chosen studies and the runs, in the plainest way."""
    total = 0.0
    for run in runs:
        for place in places:
            total += run[place].image_to_text.precision[5] + run[place].text_to_image.precision[5]
    return total / (2 * len(runs) * len(places))


def slow_bootstrap(
    value: Callable[[list[int]], float], patients: list[str], draws: int
) -> tuple[float, float]:
    """Percentiles of ``value`` when patients are redrawn, with Python's own generator."""
    draw = random.Random(1)
    names = sorted(set(patients))
    found = []
    for _ in range(draws):
        places = [
            place
            for name in (draw.choice(names) for _ in names)
            for place, patient in enumerate(patients)
            if patient == name
        ]
        found.append(value(places))
    found.sort()
    return found[round(0.025 * draws)], found[round(0.975 * draws) - 1]


def test_seeds_are_gathered_and_sorted(write_search: Writer, tmp_path: Path) -> None:
    for seed in (2, 0, 1):
        write_search(seed)
    write_search(0, experiment="bare")
    groups = collect_searches(tmp_path)
    assert [group.key.experiment for group in groups] == ["bare", "full"]
    group = groups[1]
    assert [record.seed for record in group.records] == [0, 1, 2]
    assert group.label == "Phantom 112px [retrieval, test]"
    values = [record.mean.precision[5] for record in group.records]
    assert float(group.mean()) == pytest.approx(fmean(values))
    assert group.deviation() == pytest.approx(stdev(values))
    assert group.chance() == Fraction(5, 60)
    assert group.chance("recall", 10) == Fraction(1, 6)


def test_shares_are_exact_ratios(write_search: Writer, tmp_path: Path) -> None:
    write_search(0)
    (group,) = collect_searches(tmp_path)
    (value,) = group.values()
    assert value.denominator <= 2 * 5 * 60
    assert float(value) == pytest.approx(group.first.mean.precision[5], abs=1e-15)


def test_intervals_agree_with_a_slow_reference(write_search: Writer, tmp_path: Path) -> None:
    for seed in range(2):
        write_search(seed)
    (group,) = collect_searches(tmp_path)
    runs, patients = group.lines, group.together
    assert len(set(patients)) == 30
    low, high = slow_bootstrap(lambda places: slow_mean(runs, places), patients, draws=800)
    span = group.interval()
    assert span is not None
    assert span.low == pytest.approx(low, abs=0.1 * (high - low))
    assert span.high == pytest.approx(high, abs=0.1 * (high - low))
    assert span.low < float(group.mean()) < span.high

    def above(places: list[int]) -> float:
        return slow_mean(runs, places) - fmean(runs[0][place].relevant / 60 for place in places)

    low, high = slow_bootstrap(above, patients, draws=800)
    gap = group.above_chance.interval
    assert gap is not None
    assert gap.low == pytest.approx(low, abs=0.1 * (high - low))
    assert gap.high == pytest.approx(high, abs=0.1 * (high - low))


def test_patients_are_drawn_whole(write_search: Writer, tmp_path: Path) -> None:
    path = write_search(0)
    (group,) = collect_searches(tmp_path)
    whole = group.interval()
    file = studies_path(path.parent, "test")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for number, line in enumerate(
        sorted(lines, key=lambda x: x["image_to_text"]["precision"]["5"])
    ):
        line["group"] = f"ward{number // 5}"  # those alike together: far fewer independent ones
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (group,) = collect_searches(tmp_path)
    wards = group.interval()
    assert whole is not None
    assert wards is not None
    assert wards.high - wards.low > 1.2 * (whole.high - whole.low)


def test_missing_lines_are_known_by_name(write_search: Writer, tmp_path: Path) -> None:
    write_search(0)
    path = write_search(1, lines=False)
    (group,) = collect_searches(tmp_path)
    assert group.missing == [path.with_name("studies-test.jsonl")]
    assert group.interval() is None
    assert group.above_chance.interval is None
    with pytest.raises(ValueError, match="missing"):
        _ = group.lines


def test_few_patients_give_no_interval(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, studies=16)  # 8 patients
    (group,) = collect_searches(tmp_path)
    assert group.interval() is None


def test_lines_of_another_run(write_search: Writer, tmp_path: Path) -> None:
    path, other = write_search(0), write_search(1)
    shutil.copy(studies_path(other.parent, "test"), path.parent)
    with pytest.raises(UserError, match=r"studies-test.jsonl: the lines give another value of"):
        collect_searches(tmp_path)


def test_two_records_of_one_seed(write_search: Writer, tmp_path: Path) -> None:
    path = write_search(3)
    shutil.copytree(path.parent, tmp_path / "backup")
    with pytest.raises(UserError, match="are both seed 3 of experiment 'full'"):
        collect_searches(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"studies": 72}, "differ in 'studies'"),
        ({"untrained": True}, "differ in 'untrained'"),
        ({"teacher_kl": None}, "differ in whether 'teacher_kl' is null"),
        ({"zero_shot": None}, "differ in whether 'zero_shot' is null"),
    ],
)
def test_runs_that_are_not_seeds_of_one_configuration(
    write_search: Writer, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_search(0)
    write_search(1, **changes)
    with pytest.raises(UserError, match=message):
        collect_searches(tmp_path)


@pytest.mark.parametrize("field", ["study_id", "group"])
def test_seeds_that_search_other_studies(write_search: Writer, tmp_path: Path, field: str) -> None:
    write_search(0)
    file = studies_path(write_search(1).parent, "test")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[5][field] = "another"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="differ in the studies that they search"):
        collect_searches(tmp_path)
