"""Fixed negatives of the matching evaluation: drawn once per split, the same for every model."""

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
# Lower bound of the cosines of equal float32 vectors.
_EQUAL = 1 - 1e-5


def _noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    # The default dtype follows the trainer's precision, and other dtypes draw other numbers.
    return torch.rand(*shape, generator=generator, dtype=torch.float32)


def _numbers(groups: Sequence[str]) -> Tensor:
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return torch.tensor([numbers[group] for group in groups])


def random_negatives(groups: Sequence[str], seed: str) -> tuple[int, ...]:
    """Draw a study of another group (findings or text) for each study, uniformly; -1 if none."""
    generator = torch.Generator().manual_seed(stable_seed("random negatives", seed))
    group, noise = _numbers(groups), _noise((len(groups),) * 2, generator)
    return tuple(
        int(noise[row].masked_fill(group == own, -1.0).argmax()) if (group != own).any() else -1
        for row, own in enumerate(group)
    )


def hard_negatives(features: Tensor, groups: Sequence[str], seed: str) -> tuple[int, ...]:
    """Find the study of another group with the nearest features (N, T), for N studies; -1 if none.

    Rows are unit vectors; equal rows are not negatives of each other. Ties are broken at random.
    """
    generator = torch.Generator().manual_seed(stable_seed("hard negatives", seed))
    group = _numbers(groups)
    found: list[int] = []
    for start in range(0, len(groups), _ROWS):
        rows = slice(start, start + _ROWS)
        cosines = features[rows].double() @ features.double().T
        never = (group[rows, None] == group) | (cosines > _EQUAL)
        # Rounded, so that equal cosines tie on every machine; noise below the last digit decides.
        scores = cosines.round(decimals=5) + 1e-6 * _noise(cosines.shape, generator)
        scores = scores.masked_fill(never, -torch.inf)
        found += scores.argmax(1).masked_fill(never.all(1), -1).tolist()
    return tuple(found)


def negatives_of(rows: Sequence[StudyRow], table: TeacherTable | None, seed: str) -> FixedNegatives:
    """Draw the fixed negatives of a split's studies; hard ones require a teacher's features."""
    groups = [row.finding or normalise(row.text) for row in rows]
    hard = None
    if table is not None:
        hard = hard_negatives(table.text([row.study_id for row in rows]), groups, seed)
    return FixedNegatives(random_negatives(groups, seed), hard)
