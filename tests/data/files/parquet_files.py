"""Writers of the hub's parquet layout, with its traps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 24
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("question", pa.string()),
        ("answer", pa.string()),
    ]
)


def image(seed: int, kind: str = "PNG", **options: Any) -> bytes:
    """An encoded grey image that differs for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def row(seed: int | None, question: Any, answer: Any, data: bytes | None = None) -> dict[str, Any]:
    """A row about the image of a seed, or about given bytes; None: without an image."""
    if data is None and seed is not None:
        data = image(seed)
    column = None if data is None else {"bytes": data, "path": None}
    return {"image": column, "question": question, "answer": answer}


def write_parquet(root: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write ``data/<split>-*.parquet`` in two files each, where there are two rows."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        half = -(-len(rows) // 2)
        parts = [part for part in (rows[:half], rows[half:]) if part]
        for number, part in enumerate(parts):
            name = f"{split}-{number:05d}-of-{len(parts):05d}-0123456789abcdef.parquet"
            table = pa.Table.from_pylist([dict(each) for each in part], schema=SCHEMA)
            pq.write_table(table, root / "data" / name, row_group_size=2)
