"""Read a phantom data set from its folder: question rows, studies, footprints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amif_lightning.data.files.tables import TableFile, read_json_lines
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from data_modules.phantom.generate import (
    COMPOSITION_FILE,
    FOOTPRINT_FILE,
    MANIFEST,
    QUESTION_FILE,
    STUDY_FILE,
)
from data_modules.phantom.simulator.findings import Finding
from data_modules.phantom.simulator.geometry import View
from data_modules.phantom.simulator.masks import decode_runs
from data_modules.phantom.study import SPLITS

DATASET = "Phantom"


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """One image of a study.

    Attributes:
        view: ``frontal`` or ``lateral``.
        path: File relative to the root; also the image's identity.
    """

    view: View
    path: str


@dataclass(frozen=True, slots=True)
class Study:
    """One study as written in studies.jsonl.

    Attributes:
        study_id: Its identity.
        patient_id: The patient; a patient is in one split only.
        split: The split.
        images: Its images, the frontal one first.
        findings_text: The report's section of findings.
        impression: The report's conclusion.
        findings: What the patient has.
        shown_on: For each finding the views that decide that it is there.
        vector: The exact finding vector, 0 or 1 each; equal vectors mean equal findings.
    """

    study_id: str
    patient_id: str
    split: SplitName
    images: tuple[PhantomImage, ...]
    findings_text: str
    impression: str
    findings: tuple[Finding, ...]
    shown_on: tuple[tuple[View, ...], ...]
    vector: tuple[int, ...]

    @property
    def report(self) -> str:
        """Both sections of the report as one text."""
        return f"{self.findings_text} {self.impression}"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Where one finding lies on one image.

    Attributes:
        finding: Index of the finding within its study.
        kind: What it is.
        contrast: Mean difference of the noiseless images with and without it, in noise sigma; the
            image shows the finding from 3 on.
        mask: The footprint (112, 112).
    """

    finding: int
    kind: str
    contrast: float
    mask: NDArray[np.bool_]


def _rows(root: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a finished data set's file."""
    for needed in (MANIFEST, name):
        if not (root / needed).is_file():
            raise UserError(
                f"{root / needed} is missing, so there is no finished phantom data set in {root}; "
                "let `fit` or `audit` with --data Phantom generate it, or give another root."
            )
    source = TableFile(
        root / name, DATASET, f"delete the folder {root} and generate the data set again"
    )
    for _, row in read_json_lines(source, None):
        yield row


def read_phantom(root: Path | str, *, compositional: bool = False) -> Release:
    """Read the questions; rows are counted over the whole of a file.

    Args:
        root: Folder of a finished data set.
        compositional: Whether to read the questions with composed answers as well.

    Raises:
        UserError: The folder holds no finished data set, or another number of questions than its
            manifest says.
    """
    root = Path(root)
    splits: dict[SplitName, list[VQAExample]] = {split: [] for split in SPLITS}
    patients = {row["study_id"]: row["patient_id"] for row in _rows(root, STUDY_FILE)}
    files = {"questions": QUESTION_FILE}
    if compositional:
        if not (root / COMPOSITION_FILE).is_file():
            raise UserError(
                f"{root / COMPOSITION_FILE} is missing, for an earlier version generated {root}: "
                "delete the folder, so that it is generated again, or leave compositional off."
            )
        files["compositions"] = COMPOSITION_FILE
    for name, file in files.items():
        found = _read_questions(root, file, patients)
        _check_counts(root, name, file, {split: len(rows) for split, rows in found.items()})
        for split, rows in found.items():
            splits[split] += rows
    return Release(
        dataset=DATASET,
        layout="generated",
        splits={split: tuple(rows) for split, rows in splits.items()},
    )


def _read_questions(
    root: Path, file: str, patients: Mapping[str, str]
) -> dict[SplitName, list[VQAExample]]:
    splits: dict[SplitName, list[VQAExample]] = {split: [] for split in SPLITS}
    mark = "" if file == QUESTION_FILE else "composition-"
    for number, row in enumerate(_rows(root, file)):
        splits[row["split"]].append(
            VQAExample(
                question_id=f"{DATASET}/{row['split']}/{mark}{number}",
                qid="",
                split=row["split"],
                image_key=row["image"],
                image=row["image"],
                question=row["question"],
                answer=row["answer"],
                references=(row["answer"],),  # generated in normalised form
                answer_type="closed" if row["answer"] in ("yes", "no") else "open",
                question_type=row["question_type"],
                group=patients[row["study_id"]],
            )
        )
    return splits


def _check_counts(root: Path, name: str, file: str, found: dict[SplitName, int]) -> None:
    """Raise where a file of questions is not as long as the manifest says."""
    path = root / MANIFEST
    try:
        promised = json.loads(path.read_text(encoding="utf-8"))[name]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is not a manifest of the phantom data set; delete the folder {root} and "
            "generate the data set again."
        ) from None
    if promised != found:
        raise UserError(
            f"{root / file} holds {found} questions and {path} promises {promised}; "
            f"delete the folder {root} and generate the data set again."
        )


def read_studies(root: Path | str) -> list[Study]:
    """Read the studies of all splits, in the order of the file.

    Args:
        root: Folder of a finished data set.

    Raises:
        UserError: The folder holds no finished data set.
    """
    names = ("kind", "side", "zone", "size", "count")
    return [
        Study(
            study_id=row["study_id"],
            patient_id=row["patient_id"],
            split=row["split"],
            images=tuple(PhantomImage(image["view"], image["path"]) for image in row["images"]),
            findings_text=row["report"]["findings"],
            impression=row["report"]["impression"],
            findings=tuple(
                Finding(**{name: found[name] for name in names}) for found in row["findings"]
            ),
            shown_on=tuple(tuple(found["shown_on"]) for found in row["findings"]),
            vector=tuple(row["vector"]),
        )
        for row in _rows(Path(root), STUDY_FILE)
    ]


class Footprints:
    """The footprints of all findings, decoded when asked for."""

    def __init__(self, root: Path | str) -> None:
        """Read the file of footprints.

        Args:
            root: Folder of a finished data set.

        Raises:
            UserError: The folder holds no finished data set.
        """
        self._rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in _rows(Path(root), FOOTPRINT_FILE):
            self._rows.setdefault((row["study_id"], row["view"]), []).append(row)

    def of(self, study_id: str, view: View) -> list[Footprint]:
        """Return the footprints of a study's findings on one view; none for a normal study."""
        return [
            Footprint(row["finding"], row["kind"], row["contrast"], decode_runs(row["runs"]))
            for row in self._rows.get((study_id, view), [])
        ]


def footprint(root: Path | str, study_id: str, view: View) -> NDArray[np.bool_]:
    """Return the union (112, 112) of the footprints of all of a study's findings on one view.

    Reads the whole file; use :class:`Footprints` for many images.

    Args:
        root: Folder of a finished data set.
        study_id: The study.
        view: The view.

    Raises:
        UserError: The folder holds no finished data set.
    """
    mask = decode_runs([])
    for item in Footprints(root).of(study_id, view):
        mask |= item.mask
    return mask
