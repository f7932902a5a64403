"""Writers of a user's table of questions, in every format and the hub's image folders."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fakes import write_image


def rows_of_table(images: int = 10) -> list[dict[str, str]]:
    """Two questions about each image, a patient for every two images."""
    sides = ("left", "right", "both sides")
    return [
        {
            "id": f"q{2 * place + number}",
            "image": f"scans/{place}.png",
            "patient": f"p{place // 2}",
            "question": ("Is it large?", "Where is it?")[number],
            "answer": (("yes", "no")[place % 2], sides[place % 3])[number],
            "type": ("Closed", "open")[number],
            "topic": ("Size", "Place")[number],
        }
        for place in range(images)
        for number in range(2)
    ]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with equal keys in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        return
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        stream = io.StringIO(newline="")
        delimiter = "\t" if name.endswith(".tsv") else ","
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        text = stream.getvalue()
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.name != name else content)


def write_question_table(root: Path, table: str = "table.csv", images: int = 10) -> None:
    """Write a table and its images."""
    for place in range(images):
        write_image(root / f"scans/{place}.png", place)
    write_rows(root / table, rows_of_table(images))
