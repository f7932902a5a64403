"""Data sets that share images, for tests of mixtures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from amif_lightning.data.schema.questions import Release, VQAExample
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from tests.data.tiny_release import Tiny, tiny_release
from tests.data.tiny_studies import TinyStudies, tiny_studies


def renamed(row: VQAExample, name: str, seed: int) -> VQAExample:
    """The row as one of another data set, with other image names."""
    file = row.image.replace("/", f"/{name.lower()}{seed}_")
    return replace(row, question_id=row.question_id.replace("Tiny", name, 1), image=file)


def named_tiny(root: Path, name: str, seed: int = 0, **options: Any) -> Tiny:
    """:func:`tiny` as the data set ``name`` in another folder; a seed gives other images."""
    release = tiny_release(root / name)
    splits = {}
    for split, rows in release.splits.items():
        splits[split] = tuple(renamed(row, name, seed) for row in rows)
        for before, after in zip(rows, splits[split], strict=True):
            target = root / name / after.image
            if not target.exists():
                with Image.open(root / name / before.image) as image:
                    # Turned and mirrored, so that no image looks like another set's.
                    image.rotate(90 * (seed % 4)).save(target)
    made = Release(name, "made", splits)
    return Tiny(root / name, made, **options)


def with_copy(
    module: Tiny, of: tuple[Tiny, VQAExample], *, place: int, as_name: str | None = None
) -> Tiny:
    """The data set with the image of its training image ``place`` replaced by another set's."""
    other, row = of
    rows = module.made.splits["train"]
    image = list(dict.fromkeys(r.image for r in rows))[place]
    name = as_name or image
    target = module.root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(other.file_of(row), target)
    train = tuple(replace(r, image=name) if r.image == image else r for r in rows)
    module.made = replace(module.made, splits={**module.made.splits, "train": train})
    return module


def named_studies(root: Path, name: str, **options: Any) -> TinyStudies:
    """:func:`tiny_studies` as the data set ``name`` in another folder."""
    made = tiny_studies(root / name)
    splits = {
        split: tuple(_study(row, name) for row in rows) for split, rows in made.splits.items()
    }
    return TinyStudies(root / name, StudyRelease(name, "made", splits), **options)


def _study(row: StudyRow, name: str) -> StudyRow:
    images = []
    for image in row.images:
        file = image.file.with_name(f"{name.lower()}_{image.file.name}")
        if not file.exists():
            with Image.open(image.file) as opened:
                opened.rotate(90 if name == "Second" else 0).save(file)
        identity = f"{name}/{file.parent.name}/{file.name}"
        images.append(StudyImage(identity, file, image.view))
    return replace(row, study_id=row.study_id.replace("Tiny", name, 1), images=tuple(images))
