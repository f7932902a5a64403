"""Studies of 32-pixel images for tests of the study data modules, with all awkward kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from tests.data.tiny_release import stable, write_png

FRONTAL_AND_LATERAL = ("frontal", "lateral")
# Views of each training study: one image, ten, one kind only, unknown, the usual two.
TRAIN_VIEWS: tuple[tuple[str, ...], ...] = (
    ("frontal",),
    ("lateral", *("PA", "AP", "lateral") * 3),
    ("lateral", "lateral", "lateral"),
    ("", ""),
    *(FRONTAL_AND_LATERAL,) * 6,
)


def make_study(
    root: Path,
    split: SplitName,
    number: int,
    views: Sequence[str] = FRONTAL_AND_LATERAL,
    text: str | None = None,
    **more: Any,
) -> StudyRow:
    """One study with its images written under the root."""
    images = []
    for place, view in enumerate(views):
        name = f"{split}/{number:02d}_{place}.png"
        write_png(root / name, stable(split) + 50 * number + place)
        images.append(StudyImage(f"Tiny/{name}", root / name, view))
    text = f"Report {number} of the {split} split." if text is None else text
    return StudyRow(f"Tiny/{split}{number:02d}", split, tuple(images), text, **more)


def tiny_studies(root: Path) -> StudyRelease:
    """Ten training, five validation and three test studies, with all images on disk."""
    splits: dict[SplitName, tuple[StudyRow, ...]] = {
        "train": tuple(make_study(root, "train", i, v) for i, v in enumerate(TRAIN_VIEWS)),
        "validation": tuple(make_study(root, "validation", i) for i in range(5)),
        "test": tuple(make_study(root, "test", i) for i in range(3)),
    }
    return StudyRelease("Tiny", "made", splits)


class TinyStudies(StudyDataModule):
    """Data module of studies that were made in a test."""

    def __init__(self, root: Path, release: StudyRelease, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "tokenizer": "words",
            "num_workers": 0,
            "image_size": 16,
            "batch_size": 4,
            "eval_batch_size": 2,
            "augmentation": "mild",
        }
        super().__init__(str(root), **(defaults | options))
        self.made = release

    def read_release(self) -> StudyRelease:
        """The release given at construction."""
        return self.made
