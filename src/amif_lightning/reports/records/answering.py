"""The result record: one ``result-<split>.json`` per scored checkpoint and split.

A record carries everything a reported score needs: the protocol, counts per stratum, the ceiling of
the candidate list, the no-vision baselines, the shuffled-image control, and the run's origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import ClassVar, Literal, cast

from amif_lightning.data.files.atomic import read_text
from amif_lightning.reports.records.fields import Fields, parse_json
from amif_lightning.reports.records.knowledge import KnowledgeAverages, parse_averages
from amif_lightning.reports.records.run import (
    SCHEMA_VERSION,
    Durations,
    Hardware,
    Kind,
    RunRecord,
    Score,
    name,
    opened,
    plain,
    record_path,
    score,
    shared_fields,
    write_checked,
)

__all__ = [
    "METHODS",
    "OVERALL",
    "PROTOCOLS",
    "SCHEMA_VERSION",
    "Durations",
    "Floors",
    "Hardware",
    "ResultRecord",
    "Score",
    "Scores",
    "parse_record",
    "plain",
    "read_record",
    "record_path",
    "write_record",
]

PROTOCOLS = ("clean", "literature")
METHODS = ("rank", "generate")
OVERALL = "overall"

Scores = dict[str, Score]


@dataclass(frozen=True, slots=True)
class Floors:
    """What is scored without looking at the image, per stratum.

    Attributes:
        question_only: Most frequent training answer of the question (or its first words).
        same_image_copy: Answer of the training question on the same image with the closest wording.
        majority: The single most frequent training answer.
    """

    question_only: Scores
    same_image_copy: Scores
    majority: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRecord(RunRecord):
    """Everything a reported score of answers carries; the rest is `RunRecord`'s.

    Attributes:
        kind: ``answering``; not written into the file.
        protocol: ``clean`` or ``literature``.
        scores: Right answers per stratum; ``overall`` is always present.
        control: The same with images permuted among the questions; None if it was not run.
        ceiling: Questions whose answer is among the candidates; None without a candidate list.
        floors: The no-vision baselines.
        majority_answer: The most frequent training answer.
        candidates: Number of candidate answers; None when answers are generated freely.
        answers_from: Splits whose answers are candidates, such as ``train``.
        method: ``rank`` or ``generate``.
        knowledge: By stratum, what questions read of the answer vocabulary; None where the run
            reads none, and in files that are older than this field.
    """

    kind: ClassVar[Kind] = "answering"
    protocol: Literal["clean", "literature"]
    scores: Scores
    control: Scores | None
    ceiling: Scores | None
    floors: Floors
    majority_answer: str
    candidates: int | None
    answers_from: str
    method: Literal["rank", "generate"]
    knowledge: dict[str, KnowledgeAverages] | None = None


def write_record(path: str | PathLike[str], record: ResultRecord) -> None:
    """Check ``record`` by the rules of `read_record`, then write it atomically.

    Args:
        path: ``.../result-<split>.json``.
        record: The record; ``config`` may hold paths, tuples or other objects, written as text.

    Raises:
        UserError: If a field breaks a rule or the file cannot be written.
    """
    write_checked(Path(path), record, parse_record)


def read_record(path: str | PathLike[str]) -> ResultRecord:
    """Read and check one record.

    Args:
        path: ``.../result-<split>.json``.

    Returns:
        The record, all types checked and all counts consistent.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or inconsistent.
    """
    path = Path(path)
    return parse_record(parse_json(read_text(path), str(path)), path)


def parse_record(data: object, path: Path) -> ResultRecord:
    """Check the JSON value of a record of the answering kind.

    Raises:
        UserError: As `read_record`.
    """
    top = opened(data, path, ResultRecord.kind)
    scores = _scores(top.inside("scores"))
    if OVERALL not in scores:
        top.field_fails("scores", "must hold the stratum 'overall'")
    floors = top.inside("floors")
    record = ResultRecord(
        protocol=cast(Literal["clean", "literature"], top.choice("protocol", PROTOCOLS)),
        scores=scores,
        control=_optional_scores(top, "control", scores),
        ceiling=_optional_scores(top, "ceiling", scores),
        floors=Floors(
            **{
                part: _scores(floors.inside(part), scores)
                for part in ("question_only", "same_image_copy", "majority")
            }
        ),
        majority_answer=top.text("majority_answer"),
        candidates=top.optional_integer("candidates", minimum=1),
        answers_from=name(top, "answers_from"),
        method=cast(Literal["rank", "generate"], top.choice("method", METHODS)),
        knowledge=parse_averages(top),
        **shared_fields(top, path),
    )
    floors.finish()
    top.finish()
    for stratum, read in (record.knowledge or {}).items():
        if stratum not in scores or read.questions != scores[stratum].count:
            top.field_fails(f"knowledge.{stratum}", "must be about the questions of 'scores'")
    if record.method == "rank" and record.ceiling is not None:
        for stratum, part in scores.items():
            # A ranked answer is a candidate, so more right answers than the ceiling are impossible.
            if part.correct > record.ceiling[stratum].correct:
                top.field_fails(
                    f"scores.{stratum}.correct",
                    f"is {part.correct}, above the ceiling {record.ceiling[stratum].correct} "
                    "that ranking can reach",
                )
    return record


def _scores(fields: Fields, like: Mapping[str, Score] | None = None) -> Scores:
    """Scores per stratum; with ``like``, over exactly the same strata and numbers of questions."""
    names = fields.remaining()
    if like is not None and set(names) != set(like):
        odd = min(set(names) ^ set(like))
        fields.fail(
            f"field '{fields.prefix[:-1]}'",
            f"must have the strata of 'scores', but '{odd}' is only in one of them",
        )
    scores = {}
    for stratum in names:
        part = fields.inside(stratum)
        scores[stratum] = score(part)
        if like is not None and scores[stratum].count != like[stratum].count:
            count = scores[stratum].count
            part.field_fails("count", f"is {count}, but 'scores' has {like[stratum].count}")
    return scores


def _optional_scores(top: Fields, field: str, like: Scores) -> Scores | None:
    value = top.value(field)
    return None if value is None else _scores(Fields(value, top.where, f"{field}."), like)
