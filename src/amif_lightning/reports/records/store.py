"""Read the records of both kinds, and count the tests of a run folder."""

from __future__ import annotations

import json
import os
from os import PathLike
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.retrieval import RetrievalRecord
from amif_lightning.reports.records.run import SCHEMA_VERSION, read_record, record_path
from amif_lightning.reports.records.schema import Model, Number, parse

ScoredRecord = ResultRecord | RetrievalRecord


class _Kind(Model):
    """The fields that are read first; a record without a kind is one of answers."""

    model_config = ConfigDict(extra="ignore")

    schema_version: int
    kind: Literal["answering", "retrieval"] = "answering"


def read_any(path: Path) -> ScoredRecord:
    """Read a record of either kind; a UserError names the first field that is missing or wrong."""
    first = parse(_Kind, read_text(path), path)
    if first.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: field 'schema_version' is {first.schema_version} but this program reads "
            f"{SCHEMA_VERSION}; use the program version that wrote the file, or test the "
            "checkpoint again."
        )
    if first.kind == "retrieval":
        return read_record(path, RetrievalRecord)
    return read_record(path, ResultRecord)


def find_records(folder: Path) -> list[tuple[Path, ScoredRecord]]:
    """Read every ``result-*.json`` in ``folder`` and all its subfolders, sorted by path.

    Raises:
        UserError: If the folder or records are missing, or a record is broken.
    """
    if not os.path.isdir(folder):  # Path raises an error for a name that is too long
        raise UserError(f"{folder} is not a folder: give the folder that holds the runs.")
    paths = sorted(folder.rglob("result-*.json"))
    if not paths:
        raise UserError(
            f"{folder} holds no result-*.json: test a checkpoint first, or give another folder."
        )
    return [(path, read_any(path)) for path in paths]


class _TestRuns(Model):
    test_runs: Number


def count_test_run(folder: str | PathLike[str], split: str) -> int:
    """Count a test of a split that starts now, and return the new count.

    The count has its own file, ``test-runs-<split>.json``: ``--overwrite``, partial tests and
    tests that fail before their record is written do not reset it.

    Raises:
        UserError: If the count cannot be read or written, or the record of a folder without a count
            cannot be read.
    """
    path, record = Path(folder) / f"test-runs-{split}.json", record_path(folder, split)
    if path.exists():
        try:
            before = parse(_TestRuns, read_text(path), path).test_runs
        except UserError as error:
            raise UserError(
                f'{path} contains no count of tests: write {{"test_runs": N}} into it, where N '
                "is the number of tests so far."
            ) from error
    else:
        before = read_any(record).test_runs if record.exists() else 0
    write_atomically(path, json.dumps({"test_runs": before + 1}) + "\n")
    return before + 1
