"""Studies (images with a report), their splits, and the two images that are compared as views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import get_args

import torch

from amif_lightning.data.schema.question_splits import hold_out_groups
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName

NO_IMAGE = "the study has no image"
NO_TEXT = "the report is empty"
HELD_OUT = "shows an image or a patient of the validation or test split"

# View names of the released data sets. PA and AP differ only in the direction of the beam. In
# MIMIC-CXR, LLD and RLD (the patient lies on the side) and the tilted AP AXIAL are frontal, and XTL
# (across the table) is lateral.
_FRONTAL = (
    *("frontal", "pa", "ap", "antero-posterior", "postero-anterior", "ap axial"),
    *("ap lld", "ap rld", "pa lld", "pa rld"),
)
_LATERAL = ("lateral", "ll", "rl", "lat", "xtl")
_KINDS = {**dict.fromkeys(_FRONTAL, "frontal"), **dict.fromkeys(_LATERAL, "lateral")}


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One image of a study.

    Attributes:
        image_id: ``<dataset>/<path relative to the root>``; equal ids mean the same image.
        view: The projection as released (``frontal``, ``PA``, ``lateral`` ...), empty if unknown.
    """

    image_id: str
    file: Path
    view: str = ""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study: its images and its text.

    Attributes:
        study_id: ``<dataset>/<the release's id>``, unique within the data set.
        split: The released split.
        images: Distinct images in released order.
        text: The report or caption, as released except for collapsed white space.
        finding: Equal for studies that are relevant to each other; empty if findings are unknown.
        classes: Names of the study's classes, among those of ``class_prompts``.
        group: Studies of one group (such as a patient) stay together in a hold-out; may be empty.
    """

    study_id: str
    split: SplitName
    images: tuple[StudyImage, ...]
    text: str
    finding: str = ""
    classes: tuple[str, ...] = ()
    group: str = ""

    @property
    def row_id(self) -> str:
        """Return the id, under the name common to questions and studies."""
        return self.study_id

    @property
    def hold_out_group(self) -> str:
        """Return the group, or the study's id without a group."""
        return self.group or self.study_id


StudyRelease = Release[StudyRow]


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
    shared = {r.study_id for r in train if r.group in groups or images & _images([r])}
    dropped += [DroppedRow(row.study_id, HELD_OUT) for row in train if row.study_id in shared]
    train = tuple(row for row in train if row.study_id not in shared)

    from_train = bool(train) and not validation
    if from_train:
        distinct = {row.hold_out_group for row in train}
        chosen = hold_out_groups(distinct, split_seed, validation_fraction)
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


def kind_of(view: str) -> str:
    """Return ``frontal``, ``lateral``, another released word in lower case, or empty if unknown."""
    word = view.strip().lower()
    return _KINDS.get(word, word)


def draw_views(views: Sequence[str], seed: int) -> tuple[int, int]:
    """Draw the positions of view 1 and view 2 for training; equal only for a single image.

    The draw is uniform over ordered pairs of images of different known kinds, so each kind is view
    1 as often as view 2. Without such a pair, it is uniform over ordered pairs of distinct images.
    """
    kinds = [kind_of(view) for view in views]
    ordered = list(permutations(range(len(kinds)), 2))
    pairs = [(i, j) for i, j in ordered if kinds[i] and kinds[j] and kinds[i] != kinds[j]]
    pairs = pairs or ordered or [(0, 0)]
    generator = torch.Generator().manual_seed(seed)
    return pairs[int(torch.randint(len(pairs), (1,), generator=generator))]


def fixed_views(views: Sequence[str]) -> tuple[int, int]:
    """Return the positions of view 1 and view 2 for validation and test.

    View 1 is the first frontal image, else the first image. View 2 is the first image of another
    known kind, else the first other image, else view 1.
    """
    kinds = [kind_of(view) for view in views]
    first = kinds.index("frontal") if "frontal" in kinds else 0
    others = [i for i in range(len(kinds)) if i != first]
    unlike = [i for i in others if kinds[first] and kinds[i] and kinds[i] != kinds[first]]
    return first, (unlike or others or [first])[0]
