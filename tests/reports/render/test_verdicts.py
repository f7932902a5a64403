"""The verdict of a configuration: the claims that its intervals allow, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.reports.records.retrieval import Ranking, StudyLine
from amif_lightning.reports.records.run import record_path, write_record
from amif_lightning.reports.records.schema import write_lines
from amif_lightning.reports.render.verdicts import verdict
from tests.reports.conftest import KS, Writer, answers_in, search_record_for, searches_in

NO_EVIDENCE = "no evidence that the images were used"
NOT_ALIGNED = "no evidence that image and text were aligned"
BASELINE, SHUFFLED = "the question-only baseline", "the same network with shuffled images"


def checked(text: str) -> str:
    assert "\n" not in text
    assert text.endswith(".")
    assert text.count("(") == text.count(")")
    return text


def judged(write: Writer, folder: Path, seeds: int, **changes: Any) -> str:
    for seed in range(seeds):
        write(seed, **changes)
    (group,) = answers_in(folder) or searches_in(folder)
    return checked(verdict(group))


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        (
            {"accuracy": 0.6, "control": 0.4, "baseline": 0.4},
            [": evidence that the images were used: ", f" above {BASELINE} (", f"above {SHUFFLED}"],
            "not above",
        ),
        (
            {"accuracy": 0.6, "control": 0.6, "baseline": 0.3},
            [NO_EVIDENCE, f"not above {SHUFFLED}"],
            f"not above {BASELINE}",
        ),
        (
            {"accuracy": 0.6, "control": 0.3, "baseline": 0.62},
            [f"the images change the answers, but accuracy is not above {BASELINE}: "],
            NO_EVIDENCE,
        ),
        (
            {"accuracy": 0.2, "control": 0.2, "baseline": 0.5},
            [NO_EVIDENCE, f"BELOW {BASELINE}"],
            ": evidence",
        ),
        (
            {"control": None},
            ["unknown whether the images were used, because no shuffled-image control was run: "],
            "evidence",
        ),
        ({"baseline": None}, ["the baseline taken as fixed"], "no verdict"),
        ({"predictions": False}, ["no verdict, because /", "jsonl is missing: "], "evidence"),
        (
            {"images": 9, "per_image": 20},
            ["no verdict, because there are too few images: "],
            "evidence",
        ),
        (
            {"images": 29, "per_image": 1},
            ["no verdict: ", " of 29 questions are right, and 30 questions are needed."],
            "%",
        ),
        (
            {"protocol": "literature", "untrained": True},
            ["VQARAD osf [literature (test answers visible), test], vqa-rad, 3 seeds: UNTRAINED"],
            "not above",
        ),
    ],
)
def test_verdicts_of_answers(
    write_run: Writer, tmp_path: Path, changes: dict[str, Any], present: list[str], absent: str
) -> None:
    text = judged(write_run, tmp_path, 3, **changes)
    assert [part for part in present if part not in text] == []
    assert absent not in text.split("seeds: ")[1]


def test_retrieval_above_chance(write_search: Writer, tmp_path: Path) -> None:
    text = judged(write_search, tmp_path, 2, skill=2.0)
    number = r"\d+\.\d"
    pattern = (
        r"Phantom 112px \[retrieval, test\], full, 2 seeds: evidence that image and text were "
        rf"aligned: precision@5 {number} % \(95 % interval {number}-{number}\) is {number} points "
        rf"\(95 % interval \+{number} to \+{number}\) above chance \(8\.3 %\) and {number} "
        r"points above the best list that is the same for every query \(8\.3 %\)\."
    )
    assert re.fullmatch(pattern, text)


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({"skill": 0.0}, [NOT_ALIGNED, "is not above chance (8.3 %; difference "], ": evidence"),
        ({"skill": -3.0}, [NOT_ALIGNED, "BELOW chance"], ": evidence"),
        ({"lines": False}, ["no verdict, because /", "jsonl is missing: "], "evidence"),
        ({"studies": 29}, ["no verdict: 29 studies were searched, and 30 studies are need"], "%"),
        ({"untrained": True}, ["2 seeds: UNTRAINED WEIGHTS; "], "no evidence"),
    ],
)
def test_verdicts_of_retrieval(
    write_search: Writer, tmp_path: Path, changes: dict[str, Any], present: list[str], absent: str
) -> None:
    text = judged(write_search, tmp_path, 2, **changes)
    assert [part for part in present if part not in text] == []
    assert absent not in text


def test_the_same_list_for_every_query_is_no_evidence(tmp_path: Path) -> None:
    """A class of 12 among 60 studies is above a random order, whatever the query."""
    lines = []
    for place in range(60):
        often = place < 12
        found = Ranking(
            precision=dict.fromkeys(KS, float(often)), recall={k: float(place < k) for k in KS}
        )
        line = StudyLine(
            study_id=f"study{place}",
            group=f"patient{place}",
            relevant=12 if often else 4,
            image_to_text=found,
            text_to_image=found,
            zero_shot=False,
        )
        lines.append(line)
    for seed in range(2):
        folder = tmp_path / f"seed{seed}"
        write_lines(folder / "studies-test.jsonl", lines)
        write_record(record_path(folder, "test"), search_record_for(lines, seed))
    (group,) = searches_in(tmp_path)
    assert group.level("control") == pytest.approx(12 / 60) == group.mean()
    above = group.above("baseline")
    assert above is not None
    assert above.span is not None
    assert above.span.low > 0
    text = verdict(group)
    assert NOT_ALIGNED in text
    assert "but not above the best list that is the same for every query (20.0 %)." in text
