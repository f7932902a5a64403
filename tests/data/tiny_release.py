"""A release of a few 32-pixel images for tests of the data module base, and its data module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import AnswerType, Release, SplitName, VQAExample

SIDE = 32


def write_png(path: Path, seed: int) -> None:
    """Writes a 32-pixel grey image that differs for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_rows(root: Path, split: SplitName, counts: list[int], seed: int = 0) -> list[VQAExample]:
    """One image per entry of ``counts`` with that many questions, closed and open in turn."""
    rows: list[VQAExample] = []
    for image, count in enumerate(counts):
        name = f"{split}/{image:02d}.png"
        write_png(root / name, stable(split) + 1000 * seed + image)
        for number in range(count):
            closed = number % 2 == 0
            answer = ("yes", "no")[(image + number) % 2] if closed else f"{split} zone {image % 3}"
            answer_type: AnswerType = "closed" if closed else "open"
            rows.append(
                VQAExample(
                    question_id=f"Tiny/{split}/{len(rows)}",
                    qid=str(len(rows)),
                    split=split,
                    image_key=f"{split}{image:02d}",
                    image=name,
                    question=f"Is finding {number} seen?" if closed else f"Where is part {number}?",
                    answer=answer,
                    references=(answer,),
                    answer_type=answer_type,
                    question_type=("presence", "position")[number % 2],
                )
            )
    return rows


def stable(split: SplitName) -> int:
    """A number per split, so that no two splits share an image."""
    return {"train": 0, "validation": 100_000, "test": 200_000}[split]


class Tiny(VQADataModule):
    """Data module of a release that was made in a test."""

    def __init__(self, root: Path, release: Release, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "tokenizer": "words",
            "num_workers": 0,
            "image_size": 16,
            "batch_size": 4,
            "eval_batch_size": 4,
            "augmentation": "none",
        }
        super().__init__(str(root), **(defaults | options))
        self.made = release
        self.reads = 0

    def read_release(self) -> Release:
        """The release given at construction."""
        self.reads += 1
        return self.made


TRAIN_COUNTS = [3, 1, 4, 2, 5, 1, 3, 2, 2, 4]  # 27 questions
VALIDATION_COUNTS = [10, 1, 2, 3]  # 16; ten questions of one image are two evaluation groups
TEST_COUNTS = [3, 1, 2, 9, 1]  # 16


def tiny_release(root: Path) -> Release:
    """Writes the images of all three splits and returns their rows."""
    return Release(
        dataset="Tiny",
        layout="made",
        splits={
            "train": tuple(make_rows(root, "train", TRAIN_COUNTS)),
            "validation": tuple(make_rows(root, "validation", VALIDATION_COUNTS)),
            "test": tuple(make_rows(root, "test", TEST_COUNTS)),
        },
    )


def tiny(root: Path, **options: Any) -> Tiny:
    """The data module of :func:`tiny_release`."""
    return Tiny(root, tiny_release(root), **options)


def with_answers(release: Release, answers: Sequence[str]) -> Release:
    """The release with other training answers, in turn."""
    rows = [
        replace(row, answer=answer, references=(answer,), answer_type="open")
        for i, row in enumerate(release.splits["train"])
        for answer in [answers[i % len(answers)]]
    ]
    return replace(release, splits={**release.splits, "train": tuple(rows)})
