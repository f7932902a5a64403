"""Read a generated phantom data set: questions, studies and footprints of findings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from amif_lightning.data.files.tables import TableFile, read_json_lines
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from data_modules.phantom import generate
from data_modules.phantom.simulator.findings import COORDINATES, Finding, Kind, Side, Size, Zone
from data_modules.phantom.simulator.geometry import View
from data_modules.phantom.study import SPLITS

DATASET = "Phantom"
T = TypeVar("T")
Line = TypeVar("Line")
AGAIN = "delete the folder {} and generate the data set again"


@dataclass(frozen=True, slots=True)
class Study:
    """One line of studies.jsonl."""

    study_id: str
    patient_id: str
    split: SplitName
    images: Mapping[View, str]  # path relative to the root, which identifies the image
    report: str  # both sections
    findings: tuple[Finding, ...]
    shown_on: tuple[tuple[View, ...], ...]  # for each finding, the views that show it
    vector: tuple[int, ...]  # exact finding vector of 0 and 1; equal vectors mean equal findings


@dataclass(frozen=True)
class _Question:
    split: SplitName
    study_id: str
    image: str
    question: str
    answer: str
    question_type: str


@dataclass(frozen=True)
class _Image:
    view: View
    path: str


@dataclass(frozen=True)
class _Report:
    findings: str
    impression: str


@dataclass(frozen=True)
class _Found:
    kind: Kind
    side: Side
    zone: Zone
    size: Size
    count: int
    shown_on: list[View]


@dataclass(frozen=True)
class _Study:
    study_id: str
    patient_id: str
    split: SplitName
    images: list[_Image]
    report: _Report
    findings: list[_Found]
    vector: list[int]


@dataclass(frozen=True)
class _Footprint:
    study_id: str
    view: View
    finding: int
    kind: Kind
    runs: list[int]


def _rows(root: Path, name: str, kind: type[Line], read: Callable[[int, Line], T]) -> Iterator[T]:
    """Yield what ``read`` makes of each line, given its place from 0 and its fields."""
    for needed in (generate.MANIFEST, name):
        if not (root / needed).is_file():
            raise UserError(
                f"{root / needed} is missing, so there is no finished phantom data set in {root}; "
                "delete that folder if it exists and let `fit` or `audit` with --data Phantom "
                "generate it, or give another root."
            )
    source = TableFile(root / name, DATASET, AGAIN.format(root))
    fields = TypeAdapter(kind)
    for place, (number, row) in enumerate(read_json_lines(source, None)):
        try:
            found = read(place, fields.validate_python(row))
        except (ValueError, LookupError) as error:  # pydantic's error is a ValueError
            what = f"was not generated, or was changed (line {number}: {type(error).__name__})"
            raise source.error(what) from error
        yield found


def read_phantom(root: Path | str, *, compositional: bool = False) -> Release:
    """Read the questions; with ``compositional`` also those with composed answers.

    Raises:
        UserError: The data set is missing or unfinished, or its manifest states other numbers.
    """
    root = Path(root)
    patients = {study.study_id: study.patient_id for study in read_studies(root)}
    rows = _read_questions(root, "questions", generate.QUESTION_FILE, patients)
    if compositional:
        rows += _read_questions(root, "compositions", generate.COMPOSITION_FILE, patients)
    splits = {split: tuple(row for row in rows if row.split == split) for split in SPLITS}
    return Release(dataset=DATASET, layout="generated", splits=splits)


def _read_questions(
    root: Path, name: str, file: str, patients: Mapping[str, str]
) -> list[VQAExample]:
    """Read the questions of a file; the manifest states their numbers under ``name``."""
    prefix = "" if file == generate.QUESTION_FILE else "composition-"

    def example(number: int, row: _Question) -> VQAExample:
        return VQAExample(
            question_id=f"{DATASET}/{row.split}/{prefix}{number}",
            qid="",
            split=row.split,
            image_key=row.image,
            image=row.image,
            question=row.question,
            answer=row.answer,
            references=(row.answer,),  # generated in normalised form
            answer_type="closed" if row.answer in ("yes", "no") else "open",
            question_type=row.question_type,
            group=patients[row.study_id],
        )

    rows = list(_rows(root, file, _Question, example))
    path = root / generate.MANIFEST
    try:
        promised = json.loads(path.read_text(encoding="utf-8"))[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{path} is not a manifest of the phantom data set; {AGAIN.format(root)}."
        ) from None
    found = Counter(row.split for row in rows)
    counts = {split: found[split] for split in SPLITS}
    if promised != counts:
        raise UserError(
            f"{root / file} contains {counts} questions, but {path} states {promised}; "
            f"{AGAIN.format(root)}."
        )
    return rows


def read_studies(root: Path | str) -> list[Study]:
    """Read the studies of all splits, in the order of the file.

    Raises:
        UserError: The data set is missing or unfinished.
    """

    def study(_: int, row: _Study) -> Study:
        if len(row.vector) != len(COORDINATES):
            raise ValueError("another number of coordinates")
        return Study(
            study_id=row.study_id,
            patient_id=row.patient_id,
            split=row.split,
            images={image.view: image.path for image in row.images},
            report=f"{row.report.findings} {row.report.impression}",
            findings=tuple(
                Finding(one.kind, one.side, one.zone, one.size, one.count) for one in row.findings
            ),
            shown_on=tuple(tuple(found.shown_on) for found in row.findings),
            vector=tuple(row.vector),
        )

    return list(_rows(Path(root), generate.STUDY_FILE, _Study, study))


def read_regions(root: Path | str) -> dict[str, list[tuple[str, list[int]]]]:
    """Read the findings that each image shows: kind and runs of the mask, by image path.

    Raises:
        UserError: The data set is missing or unfinished.
    """
    studies = {study.study_id: study for study in read_studies(root)}
    found: dict[str, list[tuple[str, list[int]]]] = {}

    def shown(_: int, row: _Footprint) -> tuple[str, tuple[str, list[int]]] | None:
        study = studies[row.study_id]
        if row.view not in study.shown_on[row.finding]:
            return None
        return study.images[row.view], (row.kind, row.runs)

    for region in filter(None, _rows(Path(root), generate.FOOTPRINT_FILE, _Footprint, shown)):
        found.setdefault(region[0], []).append(region[1])
    return found
