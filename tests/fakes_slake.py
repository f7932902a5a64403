"""SLAKE in its released layout, small, with the real files' traps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes import write_image


@dataclass(frozen=True)
class FakeSlake:
    """Counts of :func:`write_slake`: usable rows by language."""

    english: dict[str, int]
    chinese: dict[str, int]
    english_without_answer: int


def write_slake(
    root: Path,
    *,
    validation: str = "validate.json",
    ending: str = "source.jpg",
    drawn: bool = True,
    images: int = 8,
) -> FakeSlake:
    """Write ``train.json``, ``validate.json``, ``test.json`` and ``imgs/xmlabN/``.

    Traps: lists in varying order, case and double-space variants, a closed answer that is neither
    yes nor no, an empty answer, an answer that training lacks, and Chinese questions with other
    splits than the English ones.

    Args:
        root: Folder to write into; made if missing.
        validation: File name of the validation questions (differs between mirrors).
        ending: File name of each image (differs between mirrors).
        drawn: Whether the images are written.
        images: English training images, at least 4; validation and test have two each.

    Returns:
        The counts.
    """
    root.mkdir(parents=True, exist_ok=True)
    numbers = list(range(images + 4))
    parts = {
        "train.json": numbers[:images],
        validation: numbers[images : images + 2],
        "test.json": numbers[images + 2 :],
    }
    # The Chinese training split shows the English test images, its test split training images.
    chinese = {"train.json": parts["test.json"], validation: [0], "test.json": [1, 2]}
    qid = 0
    for name, own in parts.items():
        rows = []
        for n in own:
            where = "Right Lung,  Left" if n % 2 else "right lung, Left"
            found = "Mass, Atelectasis" if n % 2 else "Atelectasis, Mass"
            rows += [
                _row(n, "What modality is used?", ("MRI", "CT")[n % 2], "OPEN", "Modality"),
                _row(
                    n, "Is the lung  healthy?", ("Yes", "no")[n // 2 % 2], "CLOSED", "Abnormality"
                ),
                _row(n, "What diseases are there?", found, "OPEN", "Abnormality"),
                _row(n, "Which lung, left or right?", where, "CLOSED", "Position"),
            ]
        if name == "train.json":
            rows.append(_row(0, "Does the picture contain liver?", "", "OPEN", "Organ"))
        if name == "test.json":
            rows[0]["answer"] = "Ultrasound"
        for n in chinese[name]:
            rows += [
                _row(n, "这张图片的成像方式是什么?", "MRI", "OPEN", "Modality", "zh"),
                _row(
                    n, "病变在哪里?", ("左肺, 右侧", "左肺,右侧")[n % 2], "OPEN", "Position", "zh"
                ),
            ]
        for row in rows:
            row["qid"], qid = qid, qid + 1
        (root / name).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    for n in numbers if drawn else ():
        write_image(root / "imgs" / f"xmlab{n}" / ending, n)
    return FakeSlake(
        english={"train": 4 * images, "validation": 8, "test": 8},
        chinese={"train": 4, "validation": 2, "test": 4},
        english_without_answer=1,
    )


def _row(
    number: int, question: str, answer: str, answer_type: str, content: str, language: str = "en"
) -> dict[str, Any]:
    return {
        "img_id": number,
        "img_name": f"xmlab{number}/source.jpg",
        "question": question,
        "answer": answer,
        "q_lang": language,
        "location": "Lung",
        "modality": "CT",
        "answer_type": answer_type,
        "base_type": "vqa",
        "content_type": content,
        "triple": ["vhead", "_", "_"],
        "qid": 0,
    }
