"""Base of question sets with the hub's parquet files as one of their layouts."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from pathlib import Path

from amif_lightning.data.files.parquet import ParquetQuestions, find_parquet
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.signatures import Unpack


class HubQuestions(VQADataModule):
    """A question set with several layouts, one of which is the hub's parquet files.

    Args:
        root: Folder of the data set.
        unpacked: Folder for the images of parquet files, which are unpacked once.
        **kwargs: Arguments of :class:`VQADataModule`.
    """

    def __init__(
        self, root: str, unpacked: str = "data/unpacked", **kwargs: Unpack[VQAOptions]
    ) -> None:
        super().__init__(root, **kwargs)
        self.unpacked = Path(unpacked)

    @abstractmethod
    def reads_parquet(self) -> bool:
        """Return whether the release is read from parquet files."""

    @cached_property
    def parquet(self) -> ParquetQuestions | None:
        """The parquet files; None for another layout."""
        if not self.reads_parquet():
            return None
        return ParquetQuestions(type(self).__name__, find_parquet(self.root), self.unpacked)

    def prepare_data(self) -> None:
        """Unpack the parquet files, if they are read."""
        if self.parquet is not None:
            self.parquet.prepare()

    def file_of(self, row: VQAExample) -> Path:
        """Return the image file below the root, or among the unpacked ones."""
        return super().file_of(row) if self.parquet is None else self.parquet.file_of(row)
