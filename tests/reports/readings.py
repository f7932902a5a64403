"""Lines that read a vocabulary."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from amif_lightning.reports.records.knowledge import KnowledgeLine
from amif_lightning.reports.records.predictions import PredictionLine


def with_readings(lines: Sequence[PredictionLine], seed: int = 0) -> list[PredictionLine]:
    """The lines, each with what its question read; every seventh answer has no entry."""
    rng = random.Random(seed)
    made: list[PredictionLine] = []
    for place, line in enumerate(lines):
        known = place % 7 != 0
        mass = rng.random()
        reading = KnowledgeLine(
            mass=mass if known else None,
            even=0.25 if known else None,
            top=mass > 0.5 if known else None,
            effective=1 + 3 * rng.random(),
            gate=rng.random(),
            read=(("yes", round(mass, 3)), ("no", 0.001)),
        )
        made.append(replace(line, knowledge=reading))
    return made
