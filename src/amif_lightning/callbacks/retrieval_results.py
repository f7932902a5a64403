"""Writes what the search of a pre-training test gave: lines per study, record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from amif_lightning.callbacks.pair_results import pair_lines
from amif_lightning.errors import UserError
from amif_lightning.evaluation import RetrievalContext, StudyScores
from amif_lightning.reports.records.retrieval import (
    DIRECTIONS,
    JUDGED,
    MEASURES,
    Direction,
    Ranking,
    RetrievalRecord,
    StudyLine,
    averages,
    studies_path,
)
from amif_lightning.reports.records.run import RunRecord, record_path, write_record
from amif_lightning.reports.records.schema import write_lines


@runtime_checkable
class SearchTask(Protocol):
    """A task that is judged by a search among the studies of a split.

    Attributes:
        study_scores: What the last search gave; None before it. The attribute is there from the
            start, for the task is known by it.
    """

    study_scores: StudyScores | None


def write_search(
    folder: Path,
    facts: RetrievalContext,
    scores: StudyScores | None,
    run: RunRecord,
    logged: Mapping[str, torch.Tensor],
) -> str:
    """Write ``studies-<split>.jsonl`` and then ``result-<split>.json``.

    Args:
        folder: The run folder.
        facts: What the data module knows of the studies.
        scores: What the task's test gave.
        run: What the record says of the run.
        logged: The scores that the task logged.

    Returns:
        One line with the scores, or one that says why nothing was written.

    Raises:
        RuntimeError: If the task left no scores, or they contradict the facts or what was logged.
        UserError: If the divergence from the teacher is no number, or a file cannot be written.
    """
    if scores is None:
        raise RuntimeError("the test left no study_scores in its task: no record is written")
    found, wanted = len(scores.relevant), len(facts.study_ids)
    if found > wanted:
        raise RuntimeError(f"{found} studies were scored, but the split has {wanted}")
    if found < wanted:
        return (
            f"No record written: {wanted - found} of {wanted} test studies were not searched; "
            "limit_test_batches or fast_dev_run is set."
        )
    if scores.teacher_kl is not None and not math.isfinite(scores.teacher_kl):
        raise UserError(
            f"The divergence from the teacher is {scores.teacher_kl}, so no record is written: "
            "the weights diverged; train again with a lower --model.init_args.lr."
        )
    lines = _lines(facts, scores)
    record = RetrievalRecord(teacher_kl=scores.teacher_kl, **dict(averages(lines)), **dict(run))
    _check_metrics(record, logged)
    write_lines(studies_path(folder, facts.split), lines)
    write_record(record_path(folder, facts.split), record)
    return _scored(record, folder)


def _lines(facts: RetrievalContext, scores: StudyScores) -> list[StudyLine]:
    """One line per study, in the order of their places in the split."""
    rankings = {way: _rankings(scores, way) for way in DIRECTIONS}
    found = None if scores.zero_shot is None else scores.zero_shot.tolist()
    pairs = None if scores.pairs is None else pair_lines(facts.study_ids, scores.pairs)
    return [
        StudyLine(
            study_id=study,
            group=group,
            relevant=relevant,
            image_to_text=rankings["image_to_text"][place],
            text_to_image=rankings["text_to_image"][place],
            zero_shot=None if found is None else bool(found[place]),
            pairs=None if pairs is None else pairs[place],
        )
        for place, (study, group, relevant) in enumerate(
            zip(facts.study_ids, facts.groups, scores.relevant.tolist(), strict=True)
        )
    ]


def _rankings(scores: StudyScores, way: Direction) -> list[Ranking]:
    """The scores of every study in one direction."""
    precision, recall = (
        _by_study(scores.ks, values[way]) for values in (scores.precision, scores.recall)
    )
    return [Ranking(precision=p, recall=r) for p, r in zip(precision, recall, strict=True)]


def _by_study(ks: Sequence[int], values: torch.Tensor) -> list[dict[int, float]]:
    """Scores (K, N) as one mapping from k per study, k rising."""
    return [dict(sorted(zip(ks, column, strict=True))) for column in values.double().T.tolist()]


def _check_metrics(record: RetrievalRecord, logged: Mapping[str, torch.Tensor]) -> None:
    """Refuse to record means that the logged scores contradict: one of the two has a bug."""
    parts = {"test": record.mean} | {f"test/{way}": getattr(record, way) for way in DIRECTIONS}
    for prefix, ranking in parts.items():
        for measure in MEASURES:
            for k, mean in getattr(ranking, measure).items():
                name = f"{prefix}/{measure}@{k}"
                value = logged.get(name)
                if value is not None and abs(float(value) - mean) > 1e-5:
                    raise RuntimeError(
                        f"{name} was logged as {float(value):.6f}, but the studies' scores give "
                        f"{mean:.6f}: no record is written"
                    )


def _scored(record: RetrievalRecord, folder: Path) -> str:
    untrained = "UNTRAINED WEIGHTS, " if record.untrained else ""
    precision, chance = record.mean.precision[JUDGED], record.chance.precision[JUDGED]
    found = record.zero_shot
    zero_shot = "" if found is None else f", zero-shot {found.correct}/{found.count}"
    return (
        f"{record.dataset} {record.split} [retrieval], {untrained}test run {record.test_runs}: "
        f"precision@{JUDGED} {precision:.4f} (chance {chance:.4f}), recall@{JUDGED} "
        f"{record.mean.recall[JUDGED]:.4f} of {record.studies} studies{zero_shot}; records in "
        f"{folder}"
    )
