"""Split a release of studies into training, validation and test studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from amif_lightning.data.schema.question_splits import hold_out_groups
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyRelease, StudyRow

NO_IMAGE = "the study has no image"
NO_TEXT = "the report is empty"
HELD_OUT = "shows an image or a patient of the validation or test split"


@dataclass(frozen=True)
class StudySplits:
    """The usable studies of a release."""

    train: tuple[StudyRow, ...]  # weights are trained on them
    validation: tuple[StudyRow, ...]  # checkpoints are chosen on them
    test: tuple[StudyRow, ...]  # scored once; empty if absent
    dropped: tuple[DroppedRow, ...]  # unusable or not trained on
    held_out_from_train: bool  # whether validation was held out from the training split
    absent: Mapping[str, str] = field(default_factory=dict)  # as in Release


def split_studies(
    release: StudyRelease, *, split_seed: int = 0, validation_fraction: float = 0.1
) -> StudySplits:
    """Drop unusable studies, and hold out a validation set if none is released.

    Studies without image or text are unusable. Training studies that share an image or a group with
    a released validation or test study are dropped.

    Args:
        release: The studies of a reader.
        split_seed: Seed of the hold-out, independent of the training seed.
        validation_fraction: Share of the groups (patients, or single studies) to hold out.

    Raises:
        UserError: If validation must be held out from fewer than two groups.
    """
    dropped = list(release.dropped)
    usable: dict[str, tuple[StudyRow, ...]] = {}
    for split in get_args(SplitName):
        rows = release.splits.get(split, ())
        usable[split] = tuple(row for row in rows if not unusable(row))
        dropped += [DroppedRow(row.study_id, unusable(row)) for row in rows if unusable(row)]

    train, validation, test = usable["train"], usable["validation"], usable["test"]
    images = _images((*validation, *test))
    groups = {row.group for row in (*validation, *test) if row.group}
    shared = {
        row.study_id
        for row in train
        if row.group in groups or not images.isdisjoint(_images([row]))
    }
    dropped += [DroppedRow(row.study_id, HELD_OUT) for row in train if row.study_id in shared]
    train = tuple(row for row in train if row.study_id not in shared)

    from_train = bool(train) and not validation
    if from_train:
        chosen = hold_out_groups(
            (row.hold_out_group for row in train), split_seed, validation_fraction
        )
        validation = tuple(row for row in train if row.hold_out_group in chosen)
        train = tuple(row for row in train if row.hold_out_group not in chosen)
    return StudySplits(train, validation, test, tuple(dropped), from_train, release.absent)


def unusable(row: StudyRow) -> str:
    """Return why a study cannot be used, empty for a usable study."""
    if not row.images:
        return NO_IMAGE
    # A text without letters and digits describes nothing; a lone accent has no token at all.
    return "" if any(character.isalnum() for character in row.text) else NO_TEXT


def _images(rows: Iterable[StudyRow]) -> set[str]:
    return {image.image_id for row in rows for image in row.images}
