"""Synthetic runs: records and prediction files that agree with each other."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.reports.records.answering import (
    Durations,
    Floors,
    Hardware,
    ResultRecord,
    Score,
    Scores,
    record_path,
    write_record,
)
from amif_lightning.reports.records.pair_averages import pair_averages
from amif_lightning.reports.records.predictions import (
    PredictionLine,
    averages_by_stratum,
    predictions_path,
    write_predictions,
)
from amif_lightning.reports.records.retrieval import RetrievalRecord, write_retrieval_record
from amif_lightning.reports.records.study_scores import (
    Direction,
    Measure,
    Ranking,
    StudyLine,
    studies_path,
    write_studies,
)
from tests.reports.pairs import with_pairs
from tests.reports.readings import with_readings

TYPES = ("modality", "organ", "size")


def tally(lines: Iterable[PredictionLine], right: Callable[[PredictionLine], bool]) -> Scores:
    """Scores per stratum, counted in the plainest way."""
    counts: dict[str, list[int]] = {}
    for line in lines:
        for stratum in line.strata:
            entry = counts.setdefault(stratum, [0, 0])
            entry[0] += right(line)
            entry[1] += 1
    return {name: Score(*entry) for name, entry in counts.items()}


def synthetic_predictions(
    seed: int,
    accuracy: float,
    control: float | None,
    floor: float | None,
    images: int,
    per_image: int,
) -> list[PredictionLine]:
    """Answers right with the given chances (accuracy up to 0.75); one floor for every seed."""
    model, fixed = random.Random(f"model {seed} {accuracy}"), random.Random(0)
    lines = []
    for number in range(images * per_image):
        closed = number % per_image < 3
        kind = "size" if number % 50 == 0 else TYPES[number % 2]
        rule = "closed" if closed else "open"
        reachable = number // 3 % 4 != 0  # three quarters of the answers are candidates
        floor_right = fixed.random() < (floor or 0)
        lines.append(
            PredictionLine(
                question_id=f"VQARAD/test/{number}",
                qid=str(number),
                image=f"image{number // per_image}",
                question="is there a nodule?",
                answer="yes",
                references=("yes",),
                prediction="yes",
                log_likelihood=-0.5,
                correct=reachable and model.random() < accuracy * 4 / 3,
                answer_type=rule,
                question_type=kind,
                strata=("overall", f"{rule}/field", f"{rule}/answer", f"type/{kind}"),
                control_prediction=None if control is None else "no",
                control_correct=None if control is None else model.random() < control,
                floor_correct=None if floor is None else floor_right,
            )
        )
    return lines


def record_for(lines: list[PredictionLine], seed: int, **changes: Any) -> ResultRecord:
    """A record that agrees with the lines."""
    question_only = tally(lines, lambda line: bool(line.floor_correct))
    control = tally(lines, lambda line: bool(line.control_correct))
    record = ResultRecord(
        experiment="vqa-rad",
        dataset="VQARAD",
        layout="osf",
        protocol="clean",
        split="test",
        seed=seed,
        test_runs=1,
        scores=tally(lines, lambda line: line.correct),
        control=None if lines[0].control_correct is None else control,
        ceiling=tally(lines, lambda line: int(line.qid) // 3 % 4 != 0),
        floors=Floors(
            question_only=question_only,
            same_image_copy=tally(lines, lambda line: int(line.qid) % 4 == 1),
            majority=tally(lines, lambda line: int(line.qid) % 5 == 1),
        ),
        majority_answer="no",
        candidates=425,
        answers_from="train",
        method="rank",
        warnings=("202 of 203 test images also occur in train (official split).",),
        config={"seed_everything": seed, "model": {"init_args": {"lr": 1e-3}}},
        versions={"python": "3.11.7", "torch": "2.8.0", "lightning": "2.6.6"},
        git_commit="0123456789abcdef0123456789abcdef01234567",
        git_dirty=False,
        hardware=Hardware(cpu="Xeon", cores=2, memory_gib=7.8),
        durations=Durations(train=754.0, test=31.0, control=12.5),
        checkpoint="best.ckpt",
        finished="2026-01-02T03:04:05+00:00",
        untrained=False,
    )
    if changes.get("protocol") == "literature":
        changes = {"answers_from": "train + test"} | changes
    return replace(record, **changes)


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write one run under ``tmp_path / "runs"``; returns the record's path."""

    def write(
        seed: int = 0,
        *,
        accuracy: float = 0.6,
        control: float | None = 0.4,
        floor: float | None = 0.4,
        images: int = 60,
        per_image: int = 5,
        predictions: bool = True,
        read: bool = False,
        **changes: Any,
    ) -> Path:
        lines = synthetic_predictions(seed, accuracy, control, floor, images, per_image)
        if read:
            lines = with_readings(lines, seed)
            changes = {"knowledge": averages_by_stratum(lines)} | changes
        record = record_for(lines, seed, **changes)
        folder = tmp_path / "runs" / record.experiment / record.protocol / f"seed{seed}"
        path = record_path(folder, record.split)
        if predictions:
            write_predictions(predictions_path(folder, record.split), lines)
        write_record(path, record)
        return path

    return write


KS = (1, 5, 10)
CLASSES = 12


def synthetic_studies(seed: int, skill: float, studies: int) -> list[StudyLine]:
    """A search whose orders are noise plus ``skill`` for relevant studies (0: chance).

    Studies are relevant to each other where their places are equal modulo `CLASSES`; two studies in
    a row belong to one patient.
    """
    noise = random.Random(f"search {seed} {skill}")
    lines = []
    for mine in range(studies):
        rankings: dict[str, Any] = {}
        for way in ("image_to_text", "text_to_image"):
            likeness = [
                noise.gauss(skill * ((other - mine) % CLASSES == 0) + skill * (other == mine), 1)
                for other in range(studies)
            ]
            order = sorted(range(studies), key=lambda other: -likeness[other])
            rankings[way] = Ranking(
                {k: sum((o - mine) % CLASSES == 0 for o in order[:k]) / k for k in KS},
                {k: float(mine in order[:k]) for k in KS},
            )
        lines.append(
            StudyLine(
                study_id=f"study{mine}",
                group=f"patient{mine // 2}",
                relevant=sum((other - mine) % CLASSES == 0 for other in range(studies)),
                zero_shot=mine % 3 == 0,
                **rankings,
            )
        )
    return lines


def average(lines: list[StudyLine], ways: list[Direction], measure: Measure) -> dict[int, float]:
    """Mean score by k over studies and directions, in the plainest way."""
    return {
        k: sum(getattr(getattr(line, way), measure)[k] for line in lines for way in ways)
        / (len(lines) * len(ways))
        for k in KS
    }


def search_record_for(lines: list[StudyLine], seed: int, **changes: Any) -> RetrievalRecord:
    """A record of a search that agrees with the lines."""
    first: list[Direction] = ["image_to_text"]
    second: list[Direction] = ["text_to_image"]
    rankings = [
        Ranking(average(lines, ways, "precision"), average(lines, ways, "recall"))
        for ways in (first, second, first + second)
    ]
    count = len(lines)
    chance = sum(line.relevant for line in lines) / count**2
    record = RetrievalRecord(
        experiment="full",
        dataset="Phantom",
        layout="112px",
        split="test",
        seed=seed,
        test_runs=1,
        studies=count,
        image_to_text=rankings[0],
        text_to_image=rankings[1],
        mean=rankings[2],
        chance=Ranking(dict.fromkeys(KS, chance), {k: k / count for k in KS}),
        ceiling={k: sum(min(line.relevant, k) for line in lines) / (k * count) for k in KS},
        zero_shot=Score(sum(bool(line.zero_shot) for line in lines), count),
        teacher_kl=0.25 + seed / 100,
        warnings=("3 reports were cut.",),
        config={"seed_everything": seed, "model": {"init_args": {"labels": "soft"}}},
        versions={"python": "3.11.7", "torch": "2.8.0", "geomloss": "0.3.1"},
        git_commit="0123456789abcdef0123456789abcdef01234567",
        git_dirty=False,
        hardware=Hardware(cpu="Xeon", cores=2, memory_gib=7.8),
        durations=Durations(train=170.0, test=8.0),
        checkpoint="best.ckpt",
        finished="2026-01-02T03:04:05+00:00",
        untrained=False,
    )
    return replace(record, **changes)


@pytest.fixture
def write_search(tmp_path: Path) -> Callable[..., Path]:
    """Write one pre-training run under ``tmp_path / "searches"``; returns the record's path.

    ``pairs`` are the options of `with_pairs`; None: the run scored no pairs.
    """

    def write(
        seed: int = 0,
        *,
        skill: float = 1.5,
        studies: int = 60,
        lines: bool = True,
        pairs: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Path:
        found = synthetic_studies(seed, skill, studies)
        if pairs is not None:
            found = with_pairs(found, seed, **pairs)
            changes["pairs"] = pair_averages(found)
        if "zero_shot" in changes:
            found = [replace(line, zero_shot=None) for line in found]
        record = search_record_for(found, seed, **changes)
        folder = tmp_path / "searches" / record.experiment / "clean" / f"seed{seed}"
        path = record_path(folder, record.split)
        if lines:
            write_studies(studies_path(folder, record.split), found)
        write_retrieval_record(path, record)
        return path

    return write


@pytest.fixture
def set_field() -> Callable[..., None]:
    """Set a field of a parsed JSON object by its dotted name; ``...`` removes it."""

    def change(data: dict[str, Any], name: str, value: Any) -> None:
        *parents, last = name.split(".")
        inner = data
        for parent in parents:
            inner = inner[parent]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value

    return change


@pytest.fixture
def edit(set_field: Callable[..., None]) -> Callable[..., None]:
    """The same in a JSON file."""

    def change(path: Path, name: str, value: Any) -> None:
        data = json.loads(path.read_text(encoding="utf-8"))
        set_field(data, name, value)
        path.write_text(json.dumps(data), encoding="utf-8")

    return change


@pytest.fixture
def record() -> ResultRecord:
    """A valid record."""
    return record_for(synthetic_predictions(0, 0.6, 0.4, 0.4, 60, 5), 0)


@pytest.fixture
def predictions() -> list[PredictionLine]:
    """Valid lines."""
    return synthetic_predictions(0, 0.6, 0.4, 0.4, 12, 5)
