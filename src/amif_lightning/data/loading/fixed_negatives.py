"""The fixed negatives that matching is judged by: drawn once from a split, whatever the model.

Letters used in shapes: N studies, T width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amif_lightning.data.loading.study_dataset import TeacherTable
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.studies import StudyRow
from amif_lightning.evaluation import FixedNegatives
from amif_lightning.seeding import stable_seed

_ROWS = 512  # studies compared with the whole split at once
# Cosines of float32 vectors this near to 1 are those of equal ones.
_EQUAL = 1 - 1e-5


def _noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    # The default type follows the trainer's precision, and other types draw other numbers.
    return torch.rand(*shape, generator=generator, dtype=torch.float32)


def random_negatives(groups: Sequence[str], seed: str) -> tuple[int, ...]:
    """For each study another one of another group, drawn evenly; -1 where there is none.

    Args:
        groups: What studies that say the same have in common: their findings, or their text.
        seed: Text that decides the draw.
    """
    generator = torch.Generator().manual_seed(stable_seed("random negatives", seed))
    numbers = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    of = torch.tensor([numbers[group] for group in groups])
    noise = _noise((len(groups), len(groups)), generator)
    return tuple(
        int(noise[row].masked_fill(of == of[row], -1.0).argmax()) if (of != of[row]).any() else -1
        for row in range(len(groups))
    )


def hard_negatives(features: Tensor, groups: Sequence[str], seed: str) -> tuple[int, ...]:
    """For each study the one of another group whose features are nearest; -1 where there is none.

    Equal features say the same and are no negatives either. Ties are broken by a draw.

    Args:
        features: (N, T) unit vectors of what the studies show.
        groups: As for :func:`random_negatives`.
        seed: Text that decides the draw.
    """
    generator = torch.Generator().manual_seed(stable_seed("hard negatives", seed))
    numbers = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    of = torch.tensor([numbers[group] for group in groups])
    found: list[int] = []
    for start in range(0, len(groups), _ROWS):
        rows = slice(start, start + _ROWS)
        cosines = features[rows].double() @ features.double().T
        never = (of[rows, None] == of) | (cosines > _EQUAL)
        # Rounded, so that equal cosines tie on every machine; noise below the last digit decides.
        scores = cosines.round(decimals=5) + 1e-6 * _noise(cosines.shape, generator)
        scores = scores.masked_fill(never, -torch.inf)
        nearest = scores.argmax(1).masked_fill(never.all(1), -1)
        found += nearest.tolist()
    return tuple(found)


def negatives_of(rows: Sequence[StudyRow], table: TeacherTable | None, seed: str) -> FixedNegatives:
    """The fixed negatives of a split's studies.

    Args:
        rows: The studies.
        table: The teacher's features; None: no hard negatives.
        seed: Text that decides the draw.
    """
    groups = [row.finding or normalise(row.text) for row in rows]
    hard = None
    if table is not None:
        hard = hard_negatives(table.text([row.study_id for row in rows]), groups, seed)
    return FixedNegatives(random_negatives(groups, seed), hard)
