"""ROCO: figures of open-access papers with their captions, in both published versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files import names, tables
from amif_lightning.data.files.tables import check_folder
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

DATASET = "ROCO"
Version = Literal["v1", "v2"]
Subsets = Literal["radiology", "all"]

TWICE = "the captions name it twice"

_GITHUB, _ZENODO = "https://github.com/razorx89/roco-dataset", "https://zenodo.org/records/8333645"
_HOME = {"v1": _GITHUB, "v2": _ZENODO}
#: Name of each split in the files of v2; v1 uses the names of this suite.
_V2_SPLITS: dict[SplitName, str] = {"train": "train", "validation": "valid", "test": "test"}
_ID = re.compile(r"[A-Za-z0-9_-]+")


class ROCO(StudyDataModule):
    """Figures with captions, one image per study, in the released splits.

    Captions without an image on disk are dropped and counted. PubMed Central no longer has many
    images of v1.

    Args:
        root: Folder of the release. v1: the repository, or its ``data``, with ``captions.txt`` and
            ``images/`` in ``<split>/<subset>/``. v2: ``train_captions.csv`` ... and the folders
            ``train/``, ``valid/`` and ``test/`` (or ``train_images/`` ...).
        version: ``v1`` or ``v2``, which differ in ids, images and splits.
        subsets: v1 only: ``radiology``, or ``all`` to add figures of other kinds.
        **kwargs: Arguments of :class:`StudyDataModule`.
    """

    row_options = (*StudyDataModule.row_options, "version", "subsets")

    def __init__(
        self,
        root: str = "data/roco",
        version: Version = "v1",
        subsets: Subsets = "radiology",
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("version", version, Version)
        check_choice("subsets", subsets, Subsets)
        if version == "v2" and subsets != "radiology":
            raise UserError(
                "data.init_args.subsets is 'all', but ROCO v2 only has radiology: give radiology."
            )
        self.version, self.subsets = version, subsets

    def read_release(self) -> StudyRelease:
        """Read all captions without opening images.

        Raises:
            UserError: If the folder or the training captions are missing, or a file is damaged.
        """
        check_folder(DATASET, self.root, _HOME[self.version])
        dropped: list[DroppedRow] = []
        seen: set[str] = set()
        rows = {split: tuple(self._studies(split, seen, dropped)) for split in _V2_SPLITS}
        splits = {split: found for split, found in rows.items() if found}
        absent: dict[str, str] = {
            split: f"no caption of the {split} split has its image in {self.root}"
            for split in rows
            if split not in splits
        }
        return StudyRelease(DATASET, self.version, splits, absent, tuple(dropped))

    def _studies(
        self, split: SplitName, seen: set[str], dropped: list[DroppedRow]
    ) -> Iterator[StudyRow]:
        listing = tables.Listing()
        for file, caption in self._captions(split, dropped):
            study_id = f"{DATASET}/{file.stem}"
            # Each id counts once, whether or not its image is there.
            reason = TWICE if study_id in seen else "" if listing.has(file) else tables.NO_FILE
            seen.add(study_id)
            if reason:
                dropped.append(DroppedRow(study_id, reason))
                continue
            image = StudyImage(f"{DATASET}/{file.relative_to(self.root).as_posix()}", file)
            yield StudyRow(study_id, split, (image,), collapse(caption))

    def _captions(self, split: SplitName, dropped: list[DroppedRow]) -> Iterator[tuple[Path, str]]:
        """Yield image file and caption of every readable line of a split."""
        home = _HOME[self.version]
        action = f"fetch ROCO {self.version} from {home} into {self.root}, or give another version"
        for captions, images in self._caption_files(split):
            if split != "train" and not captions.is_file():
                continue
            if captions.is_file() and not images.is_dir():
                how = "run its scripts/fetch.py" if self.version == "v1" else "unpack its zip there"
                raise UserError(
                    f"{DATASET}: the folder of images {images} does not exist, so {how} (the "
                    f"release is at {home})."
                )
            source = tables.TableFile(captions, DATASET, f"{action} (--data.init_args.version)")
            for number, name, caption in self._lines(source, dropped):
                if _ID.fullmatch(name.strip()) and names.is_text(caption):
                    yield images / f"{name.strip()}.jpg", caption
                else:
                    dropped.append(source.malformed(number, "no id and caption of ROCO"))

    def _caption_files(self, split: SplitName) -> Iterator[tuple[Path, Path]]:
        """Yield caption file and image folder of each subset of a split."""
        if self.version == "v2":
            short = _V2_SPLITS[split]
            images = self.root / short
            images = images if images.is_dir() else self.root / f"{short}_images"
            yield self.root / f"{short}_captions.csv", images
            return
        top = self.root / "data" if (self.root / "data").is_dir() else self.root
        for subset in ("radiology", "non-radiology")[: 2 if self.subsets == "all" else 1]:
            yield top / split / subset / "captions.txt", top / split / subset / "images"

    def _lines(
        self, source: tables.TableFile, dropped: list[DroppedRow]
    ) -> Iterator[tuple[int, str, str]]:
        """Yield number, id and caption of each line; without a tab in v1, the id is empty."""
        if self.version == "v2":
            for number, row in tables.read_table(source, ("ID", "Caption"), dropped):
                yield number, row["ID"], row["Caption"]
        else:
            for number, line in tables.read_lines(source, dropped):
                name, tab, caption = line.partition("\t")
                yield number, name if tab else "", caption
