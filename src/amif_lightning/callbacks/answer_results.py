"""Write the answers of ``test`` (predictions, record) and ``predict``."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from amif_lightning.callbacks.result_files import incomplete, write_result
from amif_lightning.data.files.atomic import write_atomically
from amif_lightning.data.schema.question_splits import protocol_label
from amif_lightning.evaluation import EvaluationContext, Prediction
from amif_lightning.losses.gather import world
from amif_lightning.metrics.answer_scores import calibration_error, word_overlap
from amif_lightning.reports.records import answering
from amif_lightning.reports.records.run import RunRecord

Answers = dict[str, Prediction]


def gather(mine: Answers) -> Answers:
    """Merge the answers of all processes."""
    processes = world()[1]
    if processes == 1:
        return mine
    parts: list[Answers] = [{}] * processes
    torch.distributed.all_gather_object(parts, mine)
    return {question: answer for part in parts for question, answer in part.items()}


def write_test(
    folder: Path,
    facts: EvaluationContext,
    answers: Sequence[Answers],
    run: RunRecord,
    method: Literal["rank", "generate", "file"],
    logged: Mapping[str, torch.Tensor],
) -> str:
    """Write ``predictions-<split>.jsonl`` and then ``result-<split>.json``; see `write_result`.

    ``answers`` are those of all processes by question id: with the own, with shuffled and with
    blank images, the last two empty without the control. Returns one line with the score, or the
    reason why nothing was written.
    """
    answered, control, blank = answers
    needed = [answered, *filter(None, (control, blank))]
    missing = [q for q in facts.rows if any(q not in given for given in needed)]
    if missing:
        what = f"questions were not answered (first: {missing[0]})"
        return incomplete(len(missing), len(facts.rows), what)
    lines = [_line(q, facts, answered[q], control.get(q), blank.get(q)) for q in facts.rows]
    found = answering.counted(lines)
    of_candidates = method != "generate"
    record = answering.ResultRecord(
        protocol=facts.protocol,
        scores=found["scores"],
        control=found["control"],
        blank=found["blank"],
        ceiling=dict(facts.ceiling) if of_candidates else None,
        baselines=answering.Baselines(
            **{name: dict(counts) for name, counts in facts.baselines.items()}
        ),
        majority_answer=facts.majority,
        candidates=facts.candidates if of_candidates else None,
        answers_from=facts.answers_from,
        method=method,
        knowledge=found["knowledge"],
        overlap=found["overlap"],
        calibration_error=_calibration(lines),
        **dict(run),
    )
    overall = record.scores["overall"]
    return write_result(
        record,
        folder,
        lines,
        {f"test/{name}": score.share for name, score in record.scores.items()},
        logged,
        protocol_label(record.protocol, record.split, record.answers_from),
        f"{overall.correct}/{overall.count} correct",
    )


def write_answers(
    folder: Path,
    facts: EvaluationContext,
    answered: Answers,
    warnings_of: Callable[[str], list[str]],
) -> str:
    """Write ``answers-<split>.jsonl`` and ``.csv`` in the order of the release.

    Rows that cannot be asked follow without an answer; their warning is the reason.

    Args:
        folder: Gets both files.
        facts: The questions of the split.
        answered: The answers by question id.
        warnings_of: Returns what of a question was not read.

    Returns:
        A summary line.
    """
    lines: list[dict[str, Any]] = [
        {
            "question_id": question,
            "image": given.image_key,
            "question": row["question"],
            "answer": given.answer,
            "probability": None if given.log_likelihood is None else math.exp(given.log_likelihood),
            "log_likelihood": given.log_likelihood,
            "warnings": warnings_of(row["question"]),
        }
        for question, row in facts.rows.items()
        if (given := answered.get(question)) is not None
    ]
    done, names = len(lines), ("image", "question", "answer", "probability", "log_likelihood")
    lines += [
        {"question_id": question, **dict.fromkeys(names), "warnings": [reason]}
        for question, reason in facts.unasked.items()
    ]
    path = folder / f"answers-{facts.split}.jsonl"
    write_atomically(path, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ("question_id", *names, "warnings"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(line | {"warnings": "; ".join(line["warnings"])} for line in lines)
    write_atomically(path.with_suffix(".csv"), table.getvalue())
    more = f", {len(facts.unasked)} rows could not be asked" if facts.unasked else ""
    return f"{done} of {len(facts.rows)} questions answered in {path} and .csv{more}"


def _calibration(lines: Sequence[answering.PredictionLine]) -> dict[str, float] | None:
    """Calibration errors per subset; None unless every answer has a probability."""
    subsets: dict[str, list[tuple[float, bool]]] = {}
    for line in lines:
        if line.log_likelihood is None:
            return None
        for name in line.strata:
            pair = math.exp(min(line.log_likelihood, 0.0)), line.correct
            subsets.setdefault(name, []).append(pair)
    return {n: calibration_error(*zip(*pairs, strict=True)) for n, pairs in subsets.items()}


def _line(
    question: str,
    facts: EvaluationContext,
    given: Prediction,
    control: Prediction | None,
    blank: Prediction | None,
) -> answering.PredictionLine:
    row = facts.rows[question]
    same = ("qid", "question", "answer", "answer_type", "question_type", "image_file")
    return answering.PredictionLine(
        question_id=question,
        image=row["image_key"],
        references=tuple(row["references"]),
        prediction=given.answer,
        log_likelihood=given.log_likelihood,
        correct=given.correct,
        strata=tuple(row["strata"]),
        control_prediction=None if control is None else control.answer,
        control_correct=None if control is None else control.correct,
        blank_prediction=None if blank is None else blank.answer,
        blank_correct=None if blank is None else blank.correct,
        overlap=answering.Overlap(**word_overlap(given.answer, row["references"])),
        baseline_correct=facts.baseline_correct[question],
        knowledge=answering.KnowledgeLine(**asdict(given.knowledge)) if given.knowledge else None,
        **{name: row[name] for name in same},
    )
