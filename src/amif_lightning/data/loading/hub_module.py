"""Data sets of questions with several layouts, one of them the hub's parquet files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from amif_lightning.data.files.json_files import check_folder
from amif_lightning.data.files.parquet import ParquetQuestions, find_parquet
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

#: Files of the training split in the layout ``hf``.
PARQUET = tuple(f"{folder}train{end}.parquet" for folder in ("data/", "") for end in ("-*", ""))


class HubQuestions(VQADataModule):
    """Base of a data set with several layouts; one of them, ``hf``, is the hub's parquet files.

    Args:
        root: Folder of the data set.
        layout: The layout to read; ``auto``: the first one in :attr:`layouts` with files on disk.
        unpacked: Folder for the images of parquet files, which are unpacked once.
        **kwargs: Arguments of :class:`VQADataModule`.
    """

    title: ClassVar[str]
    source: ClassVar[str]

    def __init__(
        self,
        root: str,
        layout: str = "auto",
        unpacked: str = "data/unpacked",
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        self.layout, self.unpacked = layout, Path(unpacked)

    @property
    @abstractmethod
    def layouts(self) -> Mapping[str, Sequence[str]]:
        """Patterns of the training file of each layout, the preferred layout first."""

    @cached_property
    def chosen_layout(self) -> str:
        """The layout to read; raises a UserError if the folder or the layout's files are absent."""
        check_folder(self.title, self.root, self.source)
        there = [
            name
            for name, patterns in self.layouts.items()
            if any(any(self.root.glob(pattern)) for pattern in patterns)
        ]
        if self.layout in there or (self.layout == "auto" and there):
            return there[0] if self.layout == "auto" else self.layout
        if self.layout == "auto":
            files = " nor ".join(f"'{patterns[0]}'" for patterns in self.layouts.values())
            raise UserError(
                f"{self.title}: neither {files} is in {self.root}, so download the data set from "
                f"{self.source} into it."
            )
        raise UserError(
            f"{self.title}: layout '{self.layout}' needs "
            f"{self.root / self.layouts[self.layout][0]}, which is not there: put it there "
            "(docs/datasets.md says where it comes from) or choose layout 'auto'."
        )

    @cached_property
    def parquet(self) -> ParquetQuestions | None:
        """The parquet files; None if another layout is read."""
        if self.chosen_layout != "hf":
            return None
        return ParquetQuestions(type(self).__name__, find_parquet(self.root), self.unpacked)

    def prepare_data(self) -> None:
        """Unpack the parquet files once, if they are read."""
        if self.parquet is not None:
            self.parquet.prepare()

    def file_of(self, row: VQAExample) -> Path:
        """Return the image file, below the root or where the parquet files were unpacked."""
        return super().file_of(row) if self.parquet is None else self.parquet.file_of(row)
