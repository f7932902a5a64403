"""Tables of MIMIC-CXR-JPG: images by study, the official split, and where to apply for access."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from amif_lightning.data.files.tables import TableFile, either, read_table
from amif_lightning.data.schema.questions import DroppedRow, SplitName

_CONDITIONS = "(PhysioNet credentialed access, signed agreement)"
ACCESS = f"https://physionet.org/content/mimic-cxr-jpg {_CONDITIONS}"
REPORTS_ACCESS = f"https://physionet.org/content/mimic-cxr {_CONDITIONS}"
METADATA = "mimic-cxr-2.0.0-metadata.csv"  # version 2.1.0 keeps these names
SPLIT = "mimic-cxr-2.0.0-split.csv"
CHEXPERT = "mimic-cxr-2.0.0-chexpert.csv"

BAD_ID = "an id in the metadata is malformed, or its study has two patients"
NO_SPLIT = "the split file does not contain its study"
TWICE = "the metadata list its image twice"

_SPLITS: Mapping[str, SplitName] = {"train": "train", "validate": "validation", "test": "test"}
_NUMBER = re.compile(r"[0-9]{1,12}")
_NAME = re.compile(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]")


class Entry(NamedTuple):
    """One image of the metadata: numbers of patient and study, image id and ViewPosition."""

    subject: str
    study: str
    dicom: str
    view: str

    @property
    def path(self) -> str:
        """Return the path of the image under the root, with forward slashes."""
        folder = f"files/p{self.subject[:2]}/p{self.subject}/s{self.study}"
        return f"{folder}/{self.dicom}.jpg"


def table(dataset: str, root: Path, name: str) -> TableFile:
    """Return a table of the release, packed or not."""
    action = f"fetch {name}.gz from {ACCESS} and put it in {root}"
    return TableFile(either(root, name), dataset, action)


def read_split(dataset: str, root: Path, dropped: list[DroppedRow]) -> dict[str, SplitName]:
    """Return the official split by study number; append unreadable lines to ``dropped``.

    Raises:
        UserError: If the file is missing or damaged, a split is unknown or a study is in two.
    """
    source = table(dataset, root, SPLIT)
    found: dict[str, SplitName] = {}
    for line, row in read_table(source, ("study_id", "split"), dropped):
        split = _SPLITS.get(row["split"].strip())
        if split is None:
            raise source.error(f"has the split {row['split'][:40]!r} in line {line}")
        study = row["study_id"].strip()
        if found.setdefault(study, split) != split:
            raise source.error(f"puts study {study[:40]} into two splits in line {line}")
    return found


def read_metadata(dataset: str, root: Path, dropped: list[DroppedRow]) -> Iterator[Entry]:
    """Yield images in released order; append unreadable and repeated ones to ``dropped``.

    Raises:
        UserError: If the file is missing or damaged.
    """
    source = table(dataset, root, METADATA)
    columns = ("dicom_id", "subject_id", "study_id", "ViewPosition")
    patient_of: dict[str, str] = {}
    seen: set[str] = set()
    for line, row in read_table(source, columns, dropped):
        dicom, subject, study, view = (row[column].strip() for column in columns)
        ids = _NUMBER.fullmatch(subject) and _NUMBER.fullmatch(study) and _NAME.fullmatch(dicom)
        where = f"{dataset}/{source.path.name}/{line}"
        if not ids or patient_of.setdefault(study, subject) != subject:
            dropped.append(DroppedRow(where, BAD_ID, f"line {line}"))
        elif dicom in seen:
            dropped.append(DroppedRow(where, TWICE, f"line {line}"))
        else:
            seen.add(dicom)
            yield Entry(subject, study, dicom, view)
