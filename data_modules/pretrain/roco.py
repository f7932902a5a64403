"""ROCO: figures of open-access papers with their captions, in both published versions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.json_files import check_folder
from amif_lightning.data.files.tables import NO_FILE, Listing, TableFile, read_lines, read_table
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

BAD_LINE = "a line of the captions without id, tab and caption"
TWICE = "the captions name it twice"

V1 = "https://github.com/razorx89/roco-dataset"
V2 = "https://zenodo.org/records/8333645"
_V1_SPLITS: Mapping[SplitName, str] = {"train": "train", "validation": "validation", "test": "test"}
_V2_SPLITS: Mapping[SplitName, str] = {"train": "train", "validation": "valid", "test": "test"}
_ID = re.compile(r"[A-Za-z0-9_-]+")


class ROCO(StudyDataModule):
    """Figures with captions, one image a study, in the released splits.

    Many images of v1 have vanished from PubMed Central. Every folder of images is listed once,
    and captions whose image is not there are dropped and counted.

    Args:
        root: Folder of the release. v1: the repository, or its ``data``, with
            ``<split>/<subset>/captions.txt`` and ``images/`` beside each. v2:
            ``train_captions.csv`` and so on, with the folders ``train/``, ``valid/`` and ``test/``
            (or ``train_images/`` ...) beside them.
        version: ``v1`` or ``v2``; the two have other ids, images and splits.
        subsets: v1 only: ``radiology``, or ``all``, figures of other kinds too.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If a word is unknown.
    """

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
                "data.init_args.subsets is 'all' and ROCO v2 holds radiology alone: give radiology."
            )
        self.version, self.subsets = version, subsets

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with the version and the subsets."""
        return super().selection() | {"version": self.version, "subsets": self.subsets}

    def read_release(self) -> StudyRelease:
        """Read all captions; no image is opened.

        Raises:
            UserError: If the folder or the training captions are missing, or a file is damaged.
        """
        check_folder(DATASET, self.root, self._home)
        dropped: list[DroppedRow] = []
        absent: dict[str, str] = {}
        rows: dict[SplitName, tuple[StudyRow, ...]] = {}
        seen: set[str] = set()
        for split in _V1_SPLITS:
            found = [*(self._v1 if self.version == "v1" else self._v2)(split, seen, dropped)]
            if found:
                rows[split] = tuple(found)
            else:
                absent[split] = f"no caption of the {split} split has its image in {self.root}"
        return StudyRelease(DATASET, self.version, rows, absent, tuple(dropped))

    @property
    def _home(self) -> str:
        return V1 if self.version == "v1" else V2

    def _source(self, path: Path) -> TableFile:
        return TableFile(path, DATASET, f"fetch it again from {self._home}")

    def _v1(
        self, split: SplitName, seen: set[str], dropped: list[DroppedRow]
    ) -> Iterator[StudyRow]:
        top = self.root / "data" if (self.root / "data").is_dir() else self.root
        for subset in ("radiology", "non-radiology")[: 2 if self.subsets == "all" else 1]:
            folder = top / _V1_SPLITS[split] / subset
            source = self._source(folder / "captions.txt")
            if not self._is_there(source.path, split):
                continue
            images = self._images(folder / "images")
            listing = Listing()
            for number, line in read_lines(source, dropped):
                name, tab, caption = line.partition("\t")
                name = name.strip()
                if not tab or not _ID.fullmatch(name) or "\0" in caption:
                    where = f"{DATASET}/{split}/{subset}/{number}"
                    dropped.append(DroppedRow(where, BAD_LINE, f"{source.path}, line {number}"))
                    continue
                yield from self._study(
                    split, images / f"{name}.jpg", caption, seen, dropped, listing
                )

    def _v2(
        self, split: SplitName, seen: set[str], dropped: list[DroppedRow]
    ) -> Iterator[StudyRow]:
        short = _V2_SPLITS[split]
        source = self._source(self.root / f"{short}_captions.csv")
        if not self._is_there(source.path, split):
            return
        plain = self.root / short
        images = self._images(plain if plain.is_dir() else self.root / f"{short}_images")
        listing = Listing()
        for number, row in read_table(source, ("ID", "Caption"), dropped):
            name = row["ID"].strip()
            if not _ID.fullmatch(name):
                dropped.append(source.malformed(number, "no id of ROCO"))
                continue
            image = images / f"{name}.jpg"
            yield from self._study(split, image, row["Caption"], seen, dropped, listing)

    def _study(
        self,
        split: SplitName,
        file: Path,
        caption: str,
        seen: set[str],
        dropped: list[DroppedRow],
        listing: Listing,
    ) -> Iterator[StudyRow]:
        study_id = f"{DATASET}/{file.stem}"
        # Each id counts once, whether or not its image is there.
        reason = TWICE if study_id in seen else "" if listing.has(file) else NO_FILE
        seen.add(study_id)
        if reason:
            dropped.append(DroppedRow(study_id, reason))
            return
        image = StudyImage(f"{DATASET}/{file.relative_to(self.root).as_posix()}", file)
        yield StudyRow(study_id, split, (image,), collapse(caption))

    def _is_there(self, captions: Path, split: SplitName) -> bool:
        """Whether a split's captions are on disk; those of training must be."""
        if captions.is_file():
            return True
        if split == "train":
            raise UserError(
                f"{DATASET}: {captions} is not there, so fetch ROCO {self.version} from "
                f"{self._home} into {self.root}, or give another --data.init_args.version."
            )
        return False

    def _images(self, folder: Path) -> Path:
        if not folder.is_dir():
            how = "run its scripts/fetch.py" if self.version == "v1" else "unpack its zip there"
            raise UserError(
                f"{DATASET}: the folder of images {folder} does not exist, so {how} (the release "
                f"is at {self._home})."
            )
        return folder
