"""Made-up scores of single pairs, for the tests of records and tables."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from amif_lightning.reports.pair_lines import Finding, Odds, PairLine, Transported
from amif_lightning.reports.study_lines import StudyLine

KINDS = ("mass", "nodule")


def with_pairs(
    lines: Sequence[StudyLine],
    seed: int,
    *,
    skill: float = 2.0,
    points: float = 2.0,
    matches: bool = True,
    cosine: float = 0.1,
) -> list[StudyLine]:
    """Studies with pairs: one in five without a negative, two in three with findings.

    Args:
        lines: Studies.
        seed: Of the run; what is judged is the same in all.
        skill: How much matching tells apart, in standard deviations.
        points: Mean of inside over area.
        matches: Whether matching was trained.
        cosine: Of other pairs.
    """
    noise, count = random.Random(f"pairs {seed} {skill} {points}"), len(lines)
    made = []
    for place, line in enumerate(lines):
        negative = place % 5 != 0
        random_id = lines[(place + 7) % count].study_id if negative else None
        hard_id = lines[(place + 1) % count].study_id if negative else None
        odds = Odds(
            noise.gauss(skill, 1),
            noise.gauss(-skill, 1) if negative else None,
            noise.gauss(skill / 2, 1) if negative else None,
        )
        found = tuple(
            Finding(
                KINDS[place % 2],
                0.1,
                min(max(0.1 * noise.gauss(points, 0.3), 0.0), 1.0),
                0.1 if place % 4 else None,
                0.12,
            )
            for _ in range(place % 3)
        )
        pair = PairLine(
            random=random_id,
            hard=hard_id,
            matching=odds if matches else None,
            reranked=noise.choice((0.2, 0.4, 0.6)) if matches and place % 2 == 0 else None,
            transport=Transported(0.5, 0.6 if negative else None),
            cosine=cosine if negative else None,
            localised=found,
        )
        made.append(replace(line, pairs=pair))
    return made
