"""A seeded writer of PathVQA in both layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from tests.data.files.parquet_files import row, write_parquet
from tests.fakes import write_image

#: Usable questions of each split without exact duplicates, and images that they show.
ROWS = {"train": 20, "val": 6, "test": 5}
IMAGES = {"train": 10, "val": 3, "test": 3}
_LONG = {"train": "train", "val": "validation", "test": "test"}


def _entries(split: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for number in range(ROWS[split]):
        closed = number % 2 == 0
        answer = ("yes", "no")[number // 2 % 2] if closed else f"organ {number % 3}"
        entries.append(
            {
                "img_id": f"{split}_{number // 2:04d}",
                "sent": f"is part {number} seen?" if closed else f"where is cell {number}?",
                "label": {answer: 1, "other": 0.3},
                "answer_type": "yes/no" if closed else "other",
                "question_type": "is" if closed else "where",
                "question_id": 1000 + number,
            }
        )
    return entries


def write_path_vqa(
    root: Path, layout: Literal["hf", "lxmert"] = "hf", *, traps: bool = True
) -> None:
    """Write the data set.

    Args:
        root: Folder to write into.
        layout: Which layout.
        traps: Whether to add an exact duplicate and unusable rows.
    """
    for split in ROWS:
        entries = _entries(split)
        if layout == "hf":
            rows = [
                row(int(e["img_id"][-4:]) + 100 * len(split), e["sent"], next(iter(e["label"])))
                for e in entries
            ]
            if traps and split == "train":
                rows += [rows[3], row(None, "no image?", "yes"), row(5, "no answer?", None)]
            write_parquet(root, {_LONG[split]: rows})
            continue
        for number, entry in enumerate(entries):
            image = root / "images" / split / f"{entry['img_id']}.jpg"
            write_image(image, 1000 * len(split) + number // 2)
        if traps and split == "train":
            bad: list[Any] = [{"img_id": "train_0001", "sent": "?", "label": {"yes": 1}}, 7]
            bad += [{"img_id": "../../etc", "sent": "where?", "label": {"yes": 1}}]
            entries = [*entries, entries[3], *bad]
        (root / f"{split}.json").write_text(json.dumps(entries), encoding="utf-8")
