"""Made-up scores of single pairs, for the tests of records and tables."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from amif_lightning.reports.records.pairs import FindingLine, Odds, PairLine, Transported
from amif_lightning.reports.records.study_scores import StudyLine

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
        seed: Of the run; what is judged is the same in all.
        skill: How much matching tells apart, in standard deviations.
        points: Mean of inside over area.
        matches: Whether matching was trained.
        cosine: Of other pairs.
        findings: Whether the data says where findings lie.
        hard: How many places further the hard negative is; 0: there are none.
        other: Another word's mass over area; a fifth more lies elsewhere.
        gain: Added to the precision of every re-ranked list, up to 1.
    """
    noise, count = random.Random(f"pairs {seed} {skill} {points}"), len(lines)
    made = []
    for place, line in enumerate(lines):
        negative = place % 5 != 0
        random_id = lines[(place + 7) % count].study_id if negative else None
        hard_id = lines[(place + hard) % count].study_id if negative and hard else None
        odds = Odds(
            noise.gauss(skill, 1),
            noise.gauss(-skill, 1) if negative else None,
            noise.gauss(skill / 2, 1) if hard_id else None,
        )
        found = tuple(
            FindingLine(
                KINDS[place % 2],
                0.1,
                min(max(0.1 * noise.gauss(points, 0.3), 0.0), 1.0),
                0.1 * other if place % 4 else None,
                0.12 * other,
            )
            for _ in range(place % 3 if findings else 0)
        )
        pair = PairLine(
            random=random_id,
            hard=hard_id,
            matching=odds if matches else None,
            reranked=_reranked(line, gain, noise) if matches and place % 2 == 0 else None,
            transport=Transported(0.5, 0.6 if negative else None),
            cosine=cosine if negative else None,
            localised=found,
        )
        made.append(replace(line, pairs=pair))
    return made


def _reranked(line: StudyLine, gain: float, noise: random.Random) -> float:
    luck = noise.choice((-0.2, 0.0, 0.2))
    return min(max(line.image_to_text.precision[5] + gain + luck, 0.0), 1.0)
