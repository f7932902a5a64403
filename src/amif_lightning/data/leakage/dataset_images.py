"""The images of a data set by split, for comparison with another data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from amif_lightning.data.schema.questions import SplitName


@dataclass(frozen=True)
class DatasetImages:
    """Images by ``<data set>/<path below its root>``, and the ids of the rows that show each."""

    files: Mapping[str, Path]
    rows: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, shown: Iterable[tuple[str, Mapping[str, Path]]]) -> DatasetImages:
        """Collect images from pairs of a row's id and its image files by name."""
        files: dict[str, Path] = {}
        rows: dict[str, set[str]] = {}
        for row, images in shown:
            files |= images
            for name in images:
                rows.setdefault(name, set()).add(row)
        return cls(files, {name: frozenset(ids) for name, ids in rows.items()})


class ComparedDataset(Protocol):
    """The part of ``TextDataModule``, a layer above, that the comparison needs."""

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
        """Reason for each split that is not on disk."""

    def images_of(self, split: SplitName) -> DatasetImages:
        """Return the images of one split."""

    def trained_images(self) -> DatasetImages:
        """Return the training images."""

    def scored_images(self) -> Sequence[DatasetImages]:
        """Return the images that select or score weights, by split."""

    def released_images(self) -> Sequence[DatasetImages]:
        """Return all images of the release, by split."""
