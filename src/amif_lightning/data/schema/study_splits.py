"""From a release of studies to what is trained and what checkpoints are chosen on."""

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
    """The usable studies of a release.

    Attributes:
        train: What weights may see.
        validation: What checkpoints are chosen on.
        test: What is scored once; empty if absent.
        dropped: Studies that are used nowhere or not for training, with the reason.
        held_out_from_train: Whether ``validation`` was taken out of the training split.
        absent: What is not on disk, each with its sentence.
    """

    train: tuple[StudyRow, ...]
    validation: tuple[StudyRow, ...]
    test: tuple[StudyRow, ...]
    dropped: tuple[DroppedRow, ...]
    held_out_from_train: bool
    absent: Mapping[str, str] = field(default_factory=dict)


def split_studies(
    release: StudyRelease, *, split_seed: int = 0, validation_fraction: float = 0.1
) -> StudySplits:
    """Leave out what cannot be used, and hold out a validation set where none is released.

    A study without image or text has no pair to align and is used in no split. Training studies
    that share an image or a group with a held-out study go, whatever the release says.

    Args:
        release: What a reader returned.
        split_seed: Seed of the hold-out; not the training seed, so that all seeds share splits.
        validation_fraction: Share of the groups (patients, or single studies) to hold out.

    Returns:
        The splits; an absent or empty one is empty.

    Raises:
        UserError: If validation must be held out from fewer than two groups.
    """
    dropped = list(release.dropped)
    usable: dict[str, tuple[StudyRow, ...]] = {}
    for split in get_args(SplitName):
        rows = release.splits.get(split, ())
        usable[split] = tuple(row for row in rows if not unusable(row))
        dropped += [DroppedRow(row.study_id, unusable(row)) for row in rows if unusable(row)]

    train = usable["train"]
    held_out = (*usable["validation"], *usable["test"])
    images, groups = _images(held_out), {row.group for row in held_out if row.group}
    shared = {
        row.study_id
        for row in train
        if row.group in groups or not images.isdisjoint(_images([row]))
    }
    dropped += [DroppedRow(row.study_id, HELD_OUT) for row in train if row.study_id in shared]
    train = tuple(row for row in train if row.study_id not in shared)

    validation = usable["validation"]
    from_train = bool(train) and not validation
    if from_train:
        chosen = hold_out_groups(
            (row.hold_out_group for row in train), split_seed, validation_fraction
        )
        validation = tuple(row for row in train if row.hold_out_group in chosen)
        train = tuple(row for row in train if row.hold_out_group not in chosen)
    return StudySplits(
        train, validation, usable["test"], tuple(dropped), from_train, release.absent
    )


def unusable(row: StudyRow) -> str:
    """Why a study cannot be used, empty where it can: it lacks an image, else a text."""
    if not row.images:
        return NO_IMAGE
    # A text of punctuation alone has nothing to say, and a lone accent has not even a token.
    return "" if any(character.isalnum() for character in row.text) else NO_TEXT


def _images(rows: Iterable[StudyRow]) -> set[str]:
    return {image.image_id for row in rows for image in row.images}
