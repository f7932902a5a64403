"""The result record of a search: ``result-<split>.json`` of a pre-training run.

It carries precision@k and recall@k in both directions, what a random order and the best one reach,
what single pairs scored, and where the run came from. ``kind`` tells it from a record of answers
(`record`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import ClassVar

from amif_lightning.data.files.atomic import read_text
from amif_lightning.errors import UserError
from amif_lightning.reports.records.fields import Fields, parse_json
from amif_lightning.reports.records.pair_averages import (
    PairAverages,
    odd_average,
    pair_averages,
    parse_averages,
)
from amif_lightning.reports.records.run import (
    Kind,
    RunRecord,
    Score,
    opened,
    score,
    shared_fields,
    write_checked,
)
from amif_lightning.reports.records.study_scores import (
    DIRECTIONS,
    MEASURES,
    Averages,
    Ranking,
    StudyLine,
    averages,
    differs,
    ranking_of,
    shares_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRecord(RunRecord):
    """Everything a reported search carries; the rest is `RunRecord`'s.

    Attributes:
        kind: ``retrieval``.
        studies: Number of studies N that were searched and searched for.
        image_to_text: Mean scores of searching reports from images.
        text_to_image: Mean scores of searching images from reports.
        mean: Means of both directions.
        chance: What a random order reaches: precision, the mean share of relevant studies; recall,
            min(k, N) / N.
        ceiling: Highest precision that any order reaches, by k.
        zero_shot: Studies whose class was found by prompts; None where the data has no classes.
        teacher_kl: Mean divergence of the model's image-text distribution from the teacher's, in
            nats; None without a teacher.
        pairs: What single pairs scored: matching, re-ranking, transport and localisation; None
            where the task scores none, and in records from before they were kept.
    """

    kind: ClassVar[Kind] = "retrieval"
    studies: int
    image_to_text: Ranking
    text_to_image: Ranking
    mean: Ranking
    chance: Ranking
    ceiling: dict[int, float]
    zero_shot: Score | None
    teacher_kl: float | None
    pairs: PairAverages | None = None


def write_retrieval_record(path: str | PathLike[str], record: RetrievalRecord) -> None:
    """Check ``record`` by the rules of `read_retrieval_record`, then write it atomically.

    Args:
        path: ``.../result-<split>.json``.
        record: The record; ``config`` may hold paths, tuples or other objects, written as text.

    Raises:
        UserError: If a field breaks a rule or the file cannot be written.
    """
    write_checked(Path(path), record, parse_retrieval_record)


def read_retrieval_record(path: str | PathLike[str]) -> RetrievalRecord:
    """Read and check one record.

    Args:
        path: ``.../result-<split>.json``.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or inconsistent, or if
            the file is a record of answers.
    """
    path = Path(path)
    return parse_retrieval_record(parse_json(read_text(path), str(path)), path)


def parse_retrieval_record(data: object, path: Path) -> RetrievalRecord:
    """Check the JSON value of a record of the retrieval kind.

    Raises:
        UserError: As `read_retrieval_record`.
    """
    top = opened(data, path, RetrievalRecord.kind)
    zero_shot = top.value("zero_shot")
    studies = top.integer("studies", minimum=1)
    record = RetrievalRecord(
        studies=studies,
        image_to_text=ranking_of(top.inside("image_to_text")),
        text_to_image=ranking_of(top.inside("text_to_image")),
        mean=ranking_of(top.inside("mean")),
        chance=ranking_of(top.inside("chance")),
        ceiling=shares_of(top.inside("ceiling")),
        zero_shot=None if zero_shot is None else score(Fields(zero_shot, top.where, "zero_shot.")),
        teacher_kl=top.optional_number("teacher_kl"),
        pairs=parse_averages(
            top.value("pairs") if "pairs" in top.remaining() else None, top.where, studies
        ),
        **shared_fields(top, path),
    )
    top.finish()
    _check(record, top)
    return record


def _check(record: RetrievalRecord, top: Fields) -> None:
    """Raise unless the numbers fit each other."""
    ks = record.mean.ks
    for name in (*DIRECTIONS, "chance"):
        if getattr(record, name).ks != ks:
            top.field_fails(name, "must have the numbers k of 'mean'")
    if tuple(record.ceiling) != ks:
        top.field_fails("ceiling", "must have the numbers k of 'mean'")
    for measure in MEASURES:
        first, second = (getattr(getattr(record, way), measure) for way in DIRECTIONS)
        both = {k: (first[k] + second[k]) / 2 for k in ks}
        if differs(getattr(record.mean, measure), both):
            top.field_fails(f"mean.{measure}", "must be the mean of both directions")
    count = record.studies
    if differs(record.chance.recall, {k: min(k, count) / count for k in ks}):
        top.field_fails("chance.recall", f"must be min(k, {count}) / {count}")
    for k in ks:
        if any(getattr(record, way).precision[k] > record.ceiling[k] + 1e-9 for way in DIRECTIONS):
            top.field_fails(f"ceiling.{k}", "is below a precision that was reached")
    if record.zero_shot is not None and record.zero_shot.count != count:
        top.field_fails("zero_shot.count", f"is {record.zero_shot.count}, but 'studies' is {count}")
    # A divergence of nothing may come out as a rounding error below zero.
    if record.teacher_kl is not None and record.teacher_kl < -1e-6:
        top.field_fails("teacher_kl", f"must not be negative, found {record.teacher_kl}")


def check_lines(record: RetrievalRecord, lines: tuple[StudyLine, ...], path: Path) -> None:
    """Raise unless the lines come to exactly the record's numbers.

    Args:
        record: A record.
        lines: The studies of its split.
        path: The lines' file, for the message.

    Raises:
        UserError: Naming the first number that differs.
    """
    found = averages(lines)
    odd = f"{len(lines)} studies" if len(lines) != record.studies else _odd(record, found)
    odd = odd or odd_average(record.pairs, pair_averages(lines))
    if odd:
        raise UserError(
            f"{path}: the lines give another value of {odd} than result-{record.split}.json; "
            "test the checkpoint again."
        )


def _odd(record: RetrievalRecord, found: Averages) -> str | None:
    for part in fields(Averages):
        mine, theirs = getattr(record, part.name), getattr(found, part.name)
        if isinstance(theirs, Ranking):
            for measure in MEASURES:
                if differs(getattr(mine, measure), getattr(theirs, measure)):
                    return f"'{part.name}.{measure}'"
        elif isinstance(theirs, dict):
            if differs(mine, theirs):
                return f"'{part.name}'"
        elif mine != theirs:
            return f"'{part.name}'"
    return None
