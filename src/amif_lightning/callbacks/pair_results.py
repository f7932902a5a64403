"""What single pairs scored, as lines of the file of studies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

from amif_lightning.evaluation import PairScores
from amif_lightning.reports.records.pairs import FindingLine, Odds, PairLine, Transported


def pair_lines(ids: Sequence[str], scores: PairScores) -> list[PairLine]:
    """The pairs of each study.

    Args:
        ids: The N studies' ids, by place.
        scores: What their pairs scored.
    """
    count = len(ids)
    random = _names(ids, scores.negatives.random)
    hard = _names(ids, scores.negatives.hard or (-1,) * count)
    own_cost, random_cost = (_numbers(scores.transport[name]) for name in ("own", "random"))
    cosines = _numbers(scores.cosine)
    odds = _odds(scores.matching, count)
    reranked = [None] * count if scores.reranked is None else _numbers(scores.reranked)
    found: dict[int, list[FindingLine]] = defaultdict(list)
    for one in scores.localised:
        found[one.position].append(
            FindingLine(
                kind=one.kind,
                area=one.area,
                inside=one.inside,
                other_word=one.other_word,
                elsewhere=one.elsewhere,
            )
        )
    return [
        PairLine(
            random=random[place],
            hard=hard[place],
            matching=odds[place],
            reranked=reranked[place],
            transport=Transported(own=own_cost[place], random=random_cost[place]),
            cosine=cosines[place],
            localised=tuple(found[place]),
        )
        for place in range(count)
    ]


def _names(ids: Sequence[str], places: Sequence[int]) -> list[str | None]:
    return [ids[place] if place >= 0 else None for place in places]


def _numbers(values: Tensor) -> list[float | None]:
    """Numbers, None for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _odds(matching: dict[str, Tensor] | None, count: int) -> list[Odds | None]:
    if matching is None:
        return [None] * count
    columns = (matching["own"].tolist(), *(_numbers(matching[n]) for n in ("random", "hard")))
    return [Odds(own=own, random=r, hard=h) for own, r, h in zip(*columns, strict=True)]
