"""From a release of studies to what is trained and what checkpoints are chosen on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from amif_lightning.data.schema.question_splits import carve_groups
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyRelease, StudyRow

NO_PICTURE = "the study has no picture"
NO_TEXT = "the report is empty"
HELD_OUT = "shows a picture or a patient of the validation or test split"


@dataclass(frozen=True)
class StudySplits:
    """The usable studies of a release.

    Attributes:
        train: What weights may see.
        validation: What checkpoints are chosen on.
        test: What is scored once; empty if absent.
        dropped: Studies that are used nowhere or not for training, with the reason.
        carved_from_train: Whether ``validation`` was taken out of the training split.
    """

    train: tuple[StudyRow, ...]
    validation: tuple[StudyRow, ...]
    test: tuple[StudyRow, ...]
    dropped: tuple[DroppedRow, ...]
    carved_from_train: bool


def split_studies(
    release: StudyRelease, *, split_seed: int = 0, validation_fraction: float = 0.1
) -> StudySplits:
    """Leave out what cannot be used, and carve a validation set where none is released.

    A study without picture or text has no pair to align and is used in no split. Training studies
    that share a picture or a group with a held-out study go, whatever the release says.

    Args:
        release: What a reader returned.
        split_seed: Seed of the carve; not the training seed, so runs of several seeds share splits.
        validation_fraction: Share of the groups (patients, or studies that stand alone) to carve.

    Returns:
        The splits; an absent or empty one is empty.

    Raises:
        UserError: If validation must be carved out of fewer than two groups.
    """
    dropped = list(release.dropped)
    usable: dict[str, tuple[StudyRow, ...]] = {}
    for split in get_args(SplitName):
        rows = release.splits.get(split, ())
        usable[split] = tuple(row for row in rows if not unusable(row))
        dropped += [DroppedRow(row.study_id, unusable(row)) for row in rows if unusable(row)]

    train = usable["train"]
    held_out = (*usable["validation"], *usable["test"])
    pictures, groups = _pictures(held_out), {row.group for row in held_out if row.group}
    shared = {
        row.study_id
        for row in train
        if row.group in groups or not pictures.isdisjoint(_pictures([row]))
    }
    dropped += [DroppedRow(row.study_id, HELD_OUT) for row in train if row.study_id in shared]
    train = tuple(row for row in train if row.study_id not in shared)

    validation = usable["validation"]
    carved = bool(train) and not validation
    if carved:
        chosen = carve_groups((row.carved_with for row in train), split_seed, validation_fraction)
        validation = tuple(row for row in train if row.carved_with in chosen)
        train = tuple(row for row in train if row.carved_with not in chosen)
    return StudySplits(train, validation, usable["test"], tuple(dropped), carved)


def unusable(row: StudyRow) -> str:
    """Why a study cannot be used, empty where it can: it lacks a picture, else a text."""
    if not row.images:
        return NO_PICTURE
    # A text of punctuation alone has nothing to say, and a lone accent has not even a token.
    return "" if any(character.isalnum() for character in row.text) else NO_TEXT


def _pictures(rows: Iterable[StudyRow]) -> set[str]:
    return {picture.image_id for row in rows for picture in row.images}
