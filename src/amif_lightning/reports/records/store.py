"""Finding and reading the records of both kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict

from amif_lightning.data.files.atomic import read_text
from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.retrieval import RetrievalRecord
from amif_lightning.reports.records.run import SCHEMA_VERSION, read_record
from amif_lightning.reports.records.schema import Model, parse


class _Kind(Model):
    """What is read first; a record that does not name its kind is one of answers."""

    model_config = ConfigDict(extra="ignore")

    schema_version: int
    kind: Literal["answering", "retrieval"] = "answering"


def read_any(path: Path) -> ResultRecord | RetrievalRecord:
    """Read and check a record of whichever kind.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or inconsistent.
    """
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


def find_records(folder: Path) -> list[tuple[Path, ResultRecord | RetrievalRecord]]:
    """Read every ``result-*.json`` in ``folder`` and all its subfolders, in the order of paths.

    Raises:
        UserError: If the folder or records are missing, or a record is broken.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds the runs.")
    paths = sorted(folder.rglob("result-*.json"))
    if not paths:
        raise UserError(
            f"{folder} holds no result-*.json: test a checkpoint first, or give another folder."
        )
    return [(path, read_any(path)) for path in paths]
