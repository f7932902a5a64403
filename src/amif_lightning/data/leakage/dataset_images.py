"""The images of a data set, split by split, for a comparison with those of another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from amif_lightning.data.schema.questions import SplitName


@dataclass(frozen=True)
class DatasetImages:
    """The images of a set of questions or studies.

    Attributes:
        files: Where each lies, by ``<data set>/<path relative to its root>``.
        rows: Ids of the questions or studies that show it, by the same name.
    """

    files: Mapping[str, Path]
    rows: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, shown: Iterable[tuple[str, Mapping[str, Path]]]) -> DatasetImages:
        """Collect the images of rows.

        Args:
            shown: The id of each row and the files of its images by name.
        """
        files: dict[str, Path] = {}
        rows: dict[str, set[str]] = {}
        for row, images in shown:
            files |= images
            for name in images:
                rows.setdefault(name, set()).add(row)
        return cls(files, {name: frozenset(ids) for name, ids in rows.items()})


class ComparedDataset(Protocol):
    """A data module whose images can be compared with those of another one."""

    @property
    def kind(self) -> str:
        """What its rows are: ``questions`` or ``studies``."""

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

    def scored_images(self) -> Sequence[DatasetImages]:
        """The images that choose or score weights, split by split."""

    def released_images(self) -> Sequence[DatasetImages]:
        """All images of the release, split by split."""
