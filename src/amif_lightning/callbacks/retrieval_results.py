"""Write the retrieval scores of a pre-training test: a line per study, and the record."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from amif_lightning.callbacks.result_files import incomplete, write_result
from amif_lightning.errors import UserError
from amif_lightning.evaluation import PairScores, RetrievalContext, StudyScores
from amif_lightning.reports.records.pairs import FindingLine, Odds, PairLine, Transported
from amif_lightning.reports.records.retrieval import (
    DIRECTIONS,
    JUDGED,
    MEASURES,
    Direction,
    Ranking,
    RetrievalRecord,
    StudyLine,
    averages,
)
from amif_lightning.reports.records.run import RunRecord


def searches(task: object) -> bool:
    """Return whether a task is evaluated by retrieval."""
    return hasattr(task, "study_scores")


def write_search(
    folder: Path,
    facts: RetrievalContext,
    scores: StudyScores | None,
    run: RunRecord,
    logged: Mapping[str, Tensor],
) -> str:
    """Write ``studies-<split>.jsonl`` and then ``result-<split>.json``; see `write_result`.

    Returns one line with the scores, or the reason why nothing was written.

    Raises:
        RuntimeError: If the task has no scores, or of too many studies.
        UserError: If the divergence from the teacher is not finite.
    """
    if scores is None:
        raise RuntimeError("the test left no study_scores in its task: no record is written")
    found, wanted = len(scores.relevant), len(facts.study_ids)
    if found > wanted:
        raise RuntimeError(f"{found} studies were scored, but the split has {wanted}")
    if found < wanted:
        return incomplete(wanted - found, wanted, "studies were not searched")
    if scores.teacher_kl is not None and not math.isfinite(scores.teacher_kl):
        raise UserError(
            f"The divergence from the teacher is {scores.teacher_kl}, so no record is written: "
            "the weights diverged; train again with a lower --model.init_args.lr."
        )
    lines = _lines(facts, scores)
    record = RetrievalRecord(teacher_kl=scores.teacher_kl, **dict(averages(lines)), **dict(run))
    rankings = {"test": record.mean} | {f"test/{way}": getattr(record, way) for way in DIRECTIONS}
    means = {
        f"{prefix}/{measure}@{k}": mean
        for prefix, ranking in rankings.items()
        for measure in MEASURES
        for k, mean in getattr(ranking, measure).items()
    }
    named = record.zero_shot
    zero_shot = "" if named is None else f", zero-shot {named.correct}/{named.count}"
    return write_result(
        record,
        folder,
        lines,
        means,
        logged,
        "retrieval",
        f"precision@{JUDGED} {record.mean.precision[JUDGED]:.4f} "
        f"(chance {record.chance.precision[JUDGED]:.4f}), recall@{JUDGED} "
        f"{record.mean.recall[JUDGED]:.4f} of {record.studies} studies{zero_shot}",
    )


def _lines(facts: RetrievalContext, scores: StudyScores) -> list[StudyLine]:
    first, second = (_rankings(scores, way) for way in DIRECTIONS)
    found = None if scores.zero_shot is None else scores.zero_shot.tolist()
    pairs = None if scores.pairs is None else pair_lines(facts.study_ids, scores.pairs)
    return [
        StudyLine(
            study_id=study,
            group=facts.groups[place],
            relevant=int(scores.relevant[place]),
            image_to_text=first[place],
            text_to_image=second[place],
            zero_shot=None if found is None else bool(found[place]),
            pairs=None if pairs is None else pairs[place],
        )
        for place, study in enumerate(facts.study_ids)
    ]


def _rankings(scores: StudyScores, way: Direction) -> list[Ranking]:
    """Scores of every study in one direction, k ascending."""
    precision, recall = (
        [dict(sorted(zip(scores.ks, of_study, strict=True))) for of_study in values[way].T.tolist()]
        for values in (scores.precision, scores.recall)
    )
    return [Ranking(precision=p, recall=r) for p, r in zip(precision, recall, strict=True)]


def pair_lines(ids: Sequence[str], scores: PairScores) -> list[PairLine]:
    """Convert pair scores to one line per study, in the order of ``ids``."""
    nobody = (-1,) * len(ids)
    random, hard = (
        [ids[place] if place >= 0 else None for place in places]
        for places in (scores.negatives.random, scores.negatives.hard or nobody)
    )
    matching, transport = _by_name(scores.matching or {}), _by_name(scores.transport)
    single = {"cosine": scores.cosine}
    if scores.reranked is not None:
        single["reranked"] = scores.reranked
    numbers = {"reranked": [None] * len(ids)} | _by_name(single)
    found: dict[int, list[FindingLine]] = defaultdict(list)
    for one in scores.localised:
        fields = asdict(one)
        found[fields.pop("position")].append(FindingLine(**fields))
    return [
        PairLine(
            random=random[place],
            hard=hard[place],
            matching=Odds(**_at(matching, place)) if matching else None,
            transport=Transported(**_at(transport, place)),
            localised=tuple(found[place]),
            **_at(numbers, place),
        )
        for place in range(len(ids))
    ]


def _by_name(values: Mapping[str, Tensor]) -> dict[str, list[float | None]]:
    """Convert to lists, NaN to None."""
    return {
        name: [None if math.isnan(number) else number for number in numbers.tolist()]
        for name, numbers in values.items()
    }


def _at(values: Mapping[str, Sequence[Any]], place: int) -> dict[str, Any]:
    return {name: numbers[place] for name, numbers in values.items()}
