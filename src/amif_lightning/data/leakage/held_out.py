"""Images that would train here and are scored elsewhere: who has to go, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from amif_lightning.data.leakage.image_hash import (
    Look,
    content_pairs,
    look,
    remembering,
    same_names,
)
from amif_lightning.errors import UserError

if TYPE_CHECKING:
    from amif_lightning.data.schema.question_splits import Splits
    from amif_lightning.data.schema.questions import Release, VQAExample
    from amif_lightning.data.schema.studies import StudyRow

Compare = Literal["content", "name"]


class QuestionSet(Protocol):
    """What is read here of a data module of questions."""

    @property
    def release(self) -> Release:
        """All its questions."""

    @property
    def splits(self) -> Splits:
        """Which of them train, validate and test."""

    def file_of(self, row: VQAExample) -> Path:
        """Where the image of a question lies."""

    def image_id_of(self, row: VQAExample) -> str:
        """Its name, unique over data sets."""


Q = TypeVar("Q", bound=QuestionSet)

NAME = "a set that is scored holds an image of the same name"
CONTENT = "a set that is scored holds an image that looks the same"
PATIENT = "a set that is scored holds another image of the same patient or group"


@dataclass(frozen=True)
class Scored:
    """The images of one data set that must not have been trained on.

    Attributes:
        names: Paths of each split's images, relative to their data set.
        files: Where all of them lie, by ``<data set>/<path>``; those that are not on disk are told
            by name only.
    """

    names: tuple[tuple[str, ...], ...]
    files: Mapping[str, Path]


def scored_of(module: QuestionSet) -> Scored:
    """What validates or tests in a data set of questions: released splits and the hold-out."""
    released = [rows for split, rows in module.release.splits.items() if split != "train"]
    return _scored(module, [*released, module.splits.validation])


def tested_of(module: QuestionSet) -> Scored:
    """The images of the questions that a data set scores."""
    return _scored(module, [module.splits.test])


def scored_in_studies(splits: Iterable[Sequence[StudyRow]]) -> Scored:
    """The images of studies that choose or score weights.

    Args:
        splits: Their studies, split by split.
    """
    shown = [[image for row in rows for image in row.images] for rows in splits]
    return Scored(
        names=tuple(
            tuple(dict.fromkeys(image.image_id.partition("/")[2] for image in images))
            for images in shown
        ),
        files={image.image_id: image.file for images in shown for image in images},
    )


def not_compared(
    scored: Iterable[tuple[Release, Scored]], compare: Compare = "content"
) -> list[str]:
    """Say which scored images could not be looked for, or by name only.

    Args:
        scored: Data sets that are scored, and which images of theirs.
        compare: How images are found.

    Returns:
        One sentence for each gap; none where all were compared in full.
    """
    notes = []
    for release, images in scored:
        notes += [
            f"the {split} images of {release.dataset} are not compared: {why}"
            for split, why in release.absent.items()
            if split in ("validation", "test")
        ]
        absent = sum(not file.is_file() for file in images.files.values())
        if compare == "name":
            notes.append(f"the images of {release.dataset} are compared by name only")
        elif absent:
            notes.append(
                f"{absent} of {len(images.files)} scored images of {release.dataset} are not "
                "on disk and are told by name only"
            )
    return notes


def left_out(modules: Iterable[Q], compare: Compare = "content") -> list[Q]:
    """Those of the held-out data sets whose images were all looked for."""
    return [m for m in modules if not not_compared([(m.release, all_of(m))], compare)]


def all_of(module: QuestionSet) -> Scored:
    """Every image of a data set of questions: another split seed holds out other ones of them."""
    return _scored(module, module.release.splits.values())


def _scored(module: QuestionSet, splits: Iterable[Iterable[VQAExample]]) -> Scored:
    rows = [tuple(split) for split in splits]
    return Scored(
        names=tuple(tuple(dict.fromkeys(row.image for row in split)) for split in rows),
        files={module.image_id_of(row): module.file_of(row) for split in rows for row in split},
    )


def looks_from(folder: str) -> Look:
    """How images are looked at, each once as long as the result is kept.

    Args:
        folder: Where what they look like is kept for later starts; empty: nowhere.
    """
    if not folder:
        return remembering(look)
    from amif_lightning.data.leakage.hash_cache import HashStore  # needed with a folder only

    return remembering(HashStore(folder).look)


def reasons_to_go(
    images: Mapping[str, str],
    files: Mapping[str, Path],
    scored: Iterable[Scored],
    compare: Compare = "content",
    looks: Look = look,
) -> dict[str, str]:
    """Find the images of a data set that another one scores.

    Args:
        images: ``<data set>/<path>`` of every image that would train, by identity.
        files: Where they lie, by identity; those that are not on disk are told by name only.
        scored: What other data sets score.
        compare: ``content``: by name, and by what they look like; ``name``: by name only.
        looks: Tells what images look like.

    Returns:
        The reason by identity, for those that have to go.

    Raises:
        UserError: If an image is damaged.
    """
    scored = list(scored)
    names = same_names(images.values(), [split for one in scored for split in one.names])
    reasons = {identity: NAME for identity, image in images.items() if image in names}
    held_out = {
        image: file for one in scored for image, file in one.files.items() if file.is_file()
    }
    if compare == "name" or not held_out:
        return reasons
    left = {
        image: identity
        for identity, image in images.items()
        if identity not in reasons and files[identity].is_file()
    }
    sides = looks({image: files[identity] for image, identity in left.items()}), looks(held_out)
    for side in sides:
        for sentence in side.damaged.values():
            raise UserError(sentence)
    return reasons | {left[pair.first]: CONTENT for pair in content_pairs(*sides)}
