"""Synthetic runs: records and files of lines that agree with each other."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from amif_lightning.evaluation import tally
from amif_lightning.reports.analysis.groups import AnswerGroup, SearchGroup, collect
from amif_lightning.reports.records.answering import (
    Baselines,
    KnowledgeLine,
    PredictionLine,
    ResultRecord,
    knowledge_averages,
)
from amif_lightning.reports.records.pairs import FindingLine, Odds, PairLine, Transported
from amif_lightning.reports.records.retrieval import (
    Ranking,
    RetrievalRecord,
    StudyLine,
    averages,
)
from amif_lightning.reports.records.run import (
    Durations,
    Hardware,
    Scores,
    record_path,
    write_record,
)
from amif_lightning.reports.records.schema import Model, write_lines

Writer = Callable[..., Path]
TYPES = ("modality", "organ", "size")
M = TypeVar("M", bound=Model)


def answers_in(folder: Path) -> list[AnswerGroup]:
    """Configurations that answered."""
    return collect(folder)[0]


def searches_in(folder: Path) -> list[SearchGroup]:
    """Configurations that searched."""
    return collect(folder)[1]


def changed(model: M, **changes: Any) -> M:
    """A copy with other values, checked as every model is."""
    return type(model)(**dict(model) | changes)


def set_field(data: dict[str, Any], name: str, value: Any) -> None:
    """Set a field of a parsed JSON object by its dotted name; ``...`` removes it."""
    *parents, last = name.split(".")
    inner: Any = data
    for parent in parents:
        inner = inner[int(parent) if isinstance(inner, list) else parent]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value


def edit(path: Path, name: str, value: Any) -> None:
    """Set a field of a JSON file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    set_field(data, name, value)
    path.write_text(json.dumps(data), encoding="utf-8")


def change_lines(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the lines next to a record, or of a file of lines."""
    (file,) = [path] if path.suffix == ".jsonl" else path.parent.glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
    change(lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def cells(table: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, each cell by its column."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()
    ]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


# ---- answers ----------------------------------------------------------------------------------


@cache
def synthetic_predictions(
    seed: int,
    accuracy: float,
    control: float | None,
    baseline: float | None,
    images: int,
    per_image: int,
) -> tuple[PredictionLine, ...]:
    """Answers right with the given chances (accuracy up to 0.75); one baseline for every seed."""
    model, fixed = random.Random(f"model {seed} {accuracy}"), random.Random(0)
    lines = []
    for number in range(images * per_image):
        closed = number % per_image < 3
        kind = "size" if number % 50 == 0 else TYPES[number % 2]
        rule = "closed" if closed else "open"
        reachable = number // 3 % 4 != 0  # three quarters of the answers are candidates
        looked_up = fixed.random() < (baseline or 0)
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
                baseline_correct=None if baseline is None else looked_up,
            )
        )
    return tuple(lines)


def with_readings(lines: Sequence[PredictionLine], seed: int = 0) -> list[PredictionLine]:
    """The lines with attention on a vocabulary; every seventh answer has no entry."""
    rng = random.Random(seed)
    made = []
    for place, line in enumerate(lines):
        known, mass = place % 7 != 0, rng.random()
        reading = KnowledgeLine(
            mass=mass if known else None,
            even=0.25 if known else None,
            top=mass > 0.5 if known else None,
            effective=1 + 3 * rng.random(),
            gate=rng.random(),
            read=(("yes", round(mass, 3)), ("no", 0.001)),
        )
        made.append(changed(line, knowledge=reading))
    return made


def run_fields(seed: int) -> dict[str, Any]:
    """The fields of both kinds of records."""
    return {
        "split": "test",
        "seed": seed,
        "test_runs": 1,
        "versions": {"python": "3.11.7", "torch": "2.8.0", "lightning": "2.6.6"},
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "git_dirty": False,
        "hardware": Hardware(cpu="Xeon", cores=2, memory_gib=7.8),
        "checkpoint": "best.ckpt",
        "finished": "2026-01-02T03:04:05+00:00",
        "untrained": False,
    }


def record_for(lines: Sequence[PredictionLine], seed: int, **changes: Any) -> ResultRecord:
    """A record that agrees with the lines."""

    def scores(right: Callable[[PredictionLine], bool | None]) -> Scores:
        return tally([line.strata for line in lines], [bool(right(line)) for line in lines])

    control = scores(lambda line: line.control_correct)
    fields = run_fields(seed) | {
        "experiment": "vqa-rad",
        "dataset": "VQARAD",
        "layout": "osf",
        "protocol": "clean",
        "scores": scores(lambda line: line.correct),
        "control": None if lines[0].control_correct is None else control,
        "ceiling": scores(lambda line: int(line.qid) // 3 % 4 != 0),
        "baselines": Baselines(
            question_only=scores(lambda line: line.baseline_correct),
            same_image_copy=scores(lambda line: int(line.qid) % 4 == 1),
            majority=scores(lambda line: int(line.qid) % 5 == 1),
        ),
        "majority_answer": "no",
        "candidates": 425,
        "answers_from": "train",
        "method": "rank",
        "warnings": ("202 of 203 test images also occur in train (official split).",),
        "config": {"seed_everything": seed, "model": {"init_args": {"lr": 1e-3}}},
        "durations": Durations(train=754.0, test=31.0, control=12.5),
    }
    if changes.get("protocol") == "literature":
        changes = {"answers_from": "train + test"} | changes
    return ResultRecord(**fields | changes)


def write_answers(
    root: Path,
    seed: int = 0,
    *,
    accuracy: float = 0.6,
    control: float | None = 0.4,
    baseline: float | None = 0.4,
    images: int = 60,
    per_image: int = 5,
    predictions: bool = True,
    read: bool = False,
    **changes: Any,
) -> Path:
    """Write one run that answered under ``root``; returns the record's path."""
    lines: Sequence[PredictionLine]
    lines = synthetic_predictions(seed, accuracy, control, baseline, images, per_image)
    if read:
        lines = with_readings(lines, seed)
        changes = {"knowledge": knowledge_averages(lines)} | changes
    return write_run_of(root, record_for(lines, seed, **changes), lines if predictions else ())


def write_run_of(root: Path, record: ResultRecord, lines: Sequence[PredictionLine]) -> Path:
    """Write a record and its lines, if any, under ``root``; returns the record's path."""
    folder = root / record.experiment / record.protocol / f"seed{record.seed}"
    path = record_path(folder, record.split)
    if lines:
        write_lines(path.parent / f"predictions-{record.split}.jsonl", lines)
    write_record(path, record)
    return path


@pytest.fixture
def write_run(tmp_path: Path) -> Writer:
    """`write_answers` under ``tmp_path / "runs"``."""
    return partial(write_answers, tmp_path / "runs")


# ---- searches ---------------------------------------------------------------------------------

KS = (1, 5, 10)
CLASSES = 12


@cache
def synthetic_studies(seed: int, skill: float, studies: int) -> tuple[StudyLine, ...]:
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
                precision={k: sum((o - mine) % CLASSES == 0 for o in order[:k]) / k for k in KS},
                recall={k: float(mine in order[:k]) for k in KS},
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
    return tuple(lines)


KINDS = ("mass", "nodule")


def with_pairs(
    lines: Sequence[StudyLine],
    seed: int,
    *,
    skill: float = 2.0,
    points: float = 2.0,
    matches: bool = True,
    cosine: float = 0.1,
    findings: bool = True,
    hard: int = 1,
    gain: float = 0.0,
    other: float = 1.0,
) -> list[StudyLine]:
    """Studies with pairs: one in five without a negative, two in three with findings.

    Args:
        lines: Studies.
        seed: Of the run; the judged pairs are the same in all.
        skill: Separation by matching in standard deviations.
        points: Mean of inside over area.
        matches: Whether matching was trained.
        cosine: Of other pairs.
        findings: Whether findings have a region.
        hard: Distance of the hard negative in places; 0: there are none.
        gain: Added to the precision of every re-ranked list, up to 1.
        other: Another word's mass over area; a fifth more elsewhere.
    """
    noise, count = random.Random(f"pairs {seed} {skill} {points}"), len(lines)
    made = []
    for place, line in enumerate(lines):
        negative = place % 5 != 0
        odds = Odds(
            own=noise.gauss(skill, 1),
            random=noise.gauss(-skill, 1) if negative else None,
            hard=noise.gauss(skill / 2, 1) if negative and hard else None,
        )
        found = tuple(
            FindingLine(
                kind=KINDS[place % 2],
                area=0.1,
                inside=min(max(0.1 * noise.gauss(points, 0.3), 0.0), 1.0),
                other_word=0.1 * other if place % 4 else None,
                elsewhere=0.12 * other,
            )
            for _ in range(place % 3 if findings else 0)
        )
        reordered = line.image_to_text.precision[5] + gain + noise.choice((-0.2, 0.0, 0.2))
        pair = PairLine(
            random=lines[(place + 7) % count].study_id if negative else None,
            hard=lines[(place + hard) % count].study_id if negative and hard else None,
            matching=odds if matches else None,
            reranked=min(max(reordered, 0.0), 1.0) if matches and place % 2 == 0 else None,
            transport=Transported(own=0.5, random=0.6 if negative else None),
            cosine=cosine if negative else None,
            localised=found,
        )
        made.append(changed(line, pairs=pair))
    return made


def search_record_for(lines: Sequence[StudyLine], seed: int, **changes: Any) -> RetrievalRecord:
    """A record of a search that agrees with the lines."""
    fields = run_fields(seed) | {
        "experiment": "full",
        "dataset": "Phantom",
        "layout": "112px",
        "teacher_kl": 0.25 + seed / 100,
        "warnings": ("3 reports were cut.",),
        "config": {"seed_everything": seed, "model": {"init_args": {"labels": "soft"}}},
        "versions": {"python": "3.11.7", "torch": "2.8.0", "geomloss": "0.3.1"},
        "durations": Durations(train=170.0, test=8.0),
    }
    return RetrievalRecord(**fields | dict(averages(lines)) | changes)


def write_searches(
    root: Path,
    seed: int = 0,
    *,
    skill: float = 1.5,
    studies: int = 60,
    lines: bool = True,
    pairs: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write one pre-training run under ``root``; returns the record's path.

    ``pairs`` are the options of `with_pairs`; None: the run scored no pairs.
    """
    found: Sequence[StudyLine] = synthetic_studies(seed, skill, studies)
    if pairs is not None:
        found = with_pairs(found, seed, **pairs)
    if "zero_shot" in changes:
        found = [changed(line, zero_shot=None) for line in found]
    record = search_record_for(found, seed, **changes)
    path = record_path(root / record.experiment / "clean" / f"seed{seed}", record.split)
    if lines:
        write_lines(path.parent / f"studies-{record.split}.jsonl", found)
    write_record(path, record)
    return path


@pytest.fixture
def write_search(tmp_path: Path) -> Writer:
    """`write_searches` under ``tmp_path / "searches"``."""
    return partial(write_searches, tmp_path / "searches")
