"""Drop the rows of any reader whose names or texts are unsafe to use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from amif_lightning.data.files.names import NO_TEXT, OUTSIDE, inside, is_text
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.data.schema.studies import StudyRow

Row = TypeVar("Row", VQAExample, StudyRow)


def without_unsafe(release: Release[Row]) -> Release[Row]:
    """Drop the rows with an image outside of the data set's folder or a text that is not valid."""
    splits: dict[SplitName, tuple[Row, ...]] = {}
    dropped: list[DroppedRow] = []
    for split, rows in release.splits.items():
        faults = [_fault(row) for row in rows]
        splits[split] = tuple(row for row, fault in zip(rows, faults, strict=True) if not fault)
        for row, fault in zip(rows, faults, strict=True):
            if fault:
                dropped.append(DroppedRow(row.row_id, fault, ", ".join(_images(row))[:200]))
    if not dropped:
        return release
    return replace(release, splits=splits, dropped=(*release.dropped, *dropped))


def _fault(row: VQAExample | StudyRow) -> str:
    if any(inside(name) is None for name in _images(row)):
        return OUTSIDE
    return "" if all(map(is_text, _texts(row))) else NO_TEXT


def _images(row: VQAExample | StudyRow) -> list[str]:
    return [row.image] if isinstance(row, VQAExample) else [one.image_id for one in row.images]


def _texts(row: VQAExample | StudyRow) -> Iterator[str]:
    yield from (row.row_id, row.group)
    if isinstance(row, VQAExample):
        yield from (row.qid, row.image_key, row.question, row.answer, row.question_type)
        yield from (*row.references, *row.variants)
    else:
        yield from (row.text, row.finding, *row.classes, *(image.view for image in row.images))
