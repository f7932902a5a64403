"""Finding and reading the records of both kinds under a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amif_lightning.data.files.atomic import read_text
from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import ResultRecord, parse_record
from amif_lightning.reports.records.fields import parse_json
from amif_lightning.reports.records.retrieval import RetrievalRecord, parse_retrieval_record
from amif_lightning.reports.records.run import kind_of


@dataclass(frozen=True)
class StoredRecords:
    """The records of a folder with their paths, by kind and in the order of the paths."""

    answering: list[tuple[Path, ResultRecord]]
    retrieval: list[tuple[Path, RetrievalRecord]]


def read_any(path: Path) -> ResultRecord | RetrievalRecord:
    """Read and check a record of whichever kind.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or inconsistent.
    """
    data = parse_json(read_text(path), str(path))
    if kind_of(data, path) == RetrievalRecord.kind:
        return parse_retrieval_record(data, path)
    return parse_record(data, path)


def find_records(folder: Path) -> StoredRecords:
    """Read every ``result-*.json`` in ``folder`` and all its subfolders.

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
    found = StoredRecords([], [])
    for path in paths:
        record = read_any(path)
        if isinstance(record, RetrievalRecord):
            found.retrieval.append((path, record))
        else:
            found.answering.append((path, record))
    return found
