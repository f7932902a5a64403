"""The images of a data set, split by split, for a comparison with those of another one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from amif_lightning.data.schema.questions import SplitName, VQAExample
from amif_lightning.data.schema.studies import StudyRow


@dataclass(frozen=True)
class DatasetImages:
    """The images of a set of questions or studies.

    Attributes:
        files: Where each lies, by ``<data set>/<path relative to its root>``.
        rows: Ids of the questions or studies that show it, by the same name.
    """

    files: Mapping[str, Path]
    rows: Mapping[str, frozenset[str]]


class ComparedDataset(Protocol):
    """A data module whose images can be compared with those of another one.

    Attributes:
        kind: What its rows are.
    """

    kind: Literal["questions", "studies"]

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def protocol_label(self) -> str:
        """The protocol that decides what trains."""

    @property
    def absent(self) -> Mapping[str, str]:
        """Why a split is not on disk, by its name."""

    def images_of(self, split: SplitName) -> DatasetImages:
        """The images of one split in the role that it has for scoring."""

    def trained_images(self) -> DatasetImages:
        """The images that weights would see."""


def images_of_questions(
    dataset: str, rows: Iterable[VQAExample], file_of: Callable[[VQAExample], Path]
) -> DatasetImages:
    """The images that questions show.

    Args:
        dataset: Name of their data set.
        rows: The questions.
        file_of: Where the image of a question lies.
    """
    files: dict[str, Path] = {}
    showing: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        # Images of a mixture are named after their data set already.
        name = row.image if row.source else f"{dataset}/{row.image}"
        files[name] = file_of(row)
        showing[name].add(row.question_id)
    return DatasetImages(files, {name: frozenset(ids) for name, ids in showing.items()})


def images_of_studies(rows: Iterable[StudyRow]) -> DatasetImages:
    """The images that studies show."""
    files: dict[str, Path] = {}
    showing: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for image in row.images:
            files[image.image_id] = image.file
            showing[image.image_id].add(row.study_id)
    return DatasetImages(files, {name: frozenset(ids) for name, ids in showing.items()})
