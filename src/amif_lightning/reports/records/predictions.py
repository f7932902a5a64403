"""The prediction file: one JSON line per scored question, beside the record of the same split."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.reports.records.fields import Fields, json_lines
from amif_lightning.reports.records.knowledge import (
    KnowledgeAverages,
    KnowledgeLine,
    knowledge_averages,
    parse_line,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionLine:
    """One question with what was answered.

    Attributes:
        question_id: ``<dataset>/<split>/<row in the released file>``; unique in a file.
        qid: The release's own id, empty where it has none.
        image: Identity of the image: equal for two questions exactly if they show the same image,
            for intervals resample images.
        question: The question as asked.
        answer: The answer as released.
        references: Normalised answers that count as right.
        prediction: The answer given.
        log_likelihood: Natural log of its probability, None where the method gives none.
        correct: Whether ``prediction`` counts as right.
        answer_type: The release's closed/open field, or empty.
        question_type: The release's question type, or empty.
        strata: Names of the strata the question is counted in.
        control_prediction: Answer with another question's image, None if the control was not run.
        control_correct: Whether that counts as right.
        floor_correct: Whether the question-only lookup is right, None if it was not computed.
        image_file: Path of the image relative to the data set's root, with forward slashes; None
            in files that are older than this field.
        knowledge: What the question read of the answer vocabulary; None where the run reads none,
            and in files that are older than this field.
    """

    question_id: str
    qid: str
    image: str
    question: str
    answer: str
    references: tuple[str, ...]
    prediction: str
    log_likelihood: float | None
    correct: bool
    answer_type: str
    question_type: str
    strata: tuple[str, ...]
    control_prediction: str | None = None
    control_correct: bool | None = None
    floor_correct: bool | None = None
    image_file: str | None = None
    knowledge: KnowledgeLine | None = None


def predictions_path(folder: str | PathLike[str], split: str) -> Path:
    """``predictions-<split>.jsonl`` inside a run folder."""
    return Path(folder) / f"predictions-{split}.jsonl"


def write_predictions(path: str | PathLike[str], predictions: Iterable[PredictionLine]) -> None:
    """Check and write all lines atomically, in the order given.

    Raises:
        UserError: If a line breaks a rule of `read_predictions` or the file cannot be written.
    """
    path = Path(path)
    text = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in predictions)
    _parse(text, path)
    write_atomically(path, text)


def read_predictions(path: str | PathLike[str]) -> tuple[PredictionLine, ...]:
    """Read and check a prediction file.

    Raises:
        UserError: Naming the file, the line and the field that is missing, mistyped or repeated.
    """
    path = Path(path)
    return _parse(read_text(path), path)


def averages_by_stratum(lines: Iterable[PredictionLine]) -> dict[str, KnowledgeAverages] | None:
    """What the questions of each stratum read; None where nothing was read.

    Args:
        lines: Of a whole split.
    """
    strata: dict[str, list[KnowledgeLine]] = {}
    for line in lines:
        if line.knowledge is not None:
            for name in line.strata:
                strata.setdefault(name, []).append(line.knowledge)
    return {name: knowledge_averages(strata[name]) for name in sorted(strata)} or None


def _parse(text: str, path: Path) -> tuple[PredictionLine, ...]:
    predictions = []
    seen: set[str] = set()
    for fields in json_lines(text, path):
        prediction = _prediction(fields)
        if prediction.question_id in seen:
            fields.field_fails("question_id", f"'{prediction.question_id}' occurs twice")
        seen.add(prediction.question_id)
        predictions.append(prediction)
        if (prediction.knowledge is None) != (predictions[0].knowledge is None):
            fields.field_fails("knowledge", "is null on some lines only")
    return tuple(predictions)


def _prediction(fields: Fields) -> PredictionLine:
    prediction = PredictionLine(
        question_id=fields.text("question_id"),
        qid=fields.text("qid"),
        image=fields.text("image"),
        question=fields.text("question"),
        answer=fields.text("answer"),
        references=fields.texts("references"),
        prediction=fields.text("prediction"),
        log_likelihood=fields.optional_number("log_likelihood"),
        correct=fields.flag("correct"),
        answer_type=fields.text("answer_type"),
        question_type=fields.text("question_type"),
        strata=fields.texts("strata"),
        control_prediction=fields.optional_text("control_prediction"),
        control_correct=fields.optional_flag("control_correct"),
        floor_correct=fields.optional_flag("floor_correct"),
        image_file=fields.optional_text("image_file")
        if "image_file" in fields.remaining()
        else None,
        knowledge=parse_line(fields),
    )
    fields.finish()
    return prediction
