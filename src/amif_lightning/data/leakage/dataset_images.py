"""The images of a data set, split by split, for a comparison with another data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from amif_lightning.data.schema.questions import SplitName


@dataclass(frozen=True)
class DatasetImages:
    """The images of a set of questions or studies, by ``<data set>/<path relative to its root>``.

    ``rows`` holds the ids of the questions or studies that show an image.
    """

    files: Mapping[str, Path]
    rows: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, shown: Iterable[tuple[str, Mapping[str, Path]]]) -> DatasetImages:
        """Collect images, given the id of each row and the files of its images by name."""
        files: dict[str, Path] = {}
        rows: dict[str, set[str]] = {}
        for row, images in shown:
            files |= images
            for name in images:
                rows.setdefault(name, set()).add(row)
        return cls(files, {name: frozenset(ids) for name, ids in rows.items()})


class ComparedDataset(Protocol):
    """What the comparison needs of ``TextDataModule``, which is a layer above."""

    @property
    def kind(self) -> str:
        """``questions`` or ``studies``."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def protocol_label(self) -> str:
        """The protocol that decides which rows are trained on."""

    @property
    def absent(self) -> Mapping[str, str]:
        """Reason by name for splits that are not on disk."""

    def images_of(self, split: SplitName) -> DatasetImages:
        """The images of one split in its role for scoring."""

    def trained_images(self) -> DatasetImages:
        """The images that would be trained on."""

    def scored_images(self) -> Sequence[DatasetImages]:
        """The images that select or score weights, split by split."""

    def released_images(self) -> Sequence[DatasetImages]:
        """All images of the release, split by split."""
