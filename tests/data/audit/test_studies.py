"""The audit of studies: counts, leaks between splits, images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.data.audit.studies import StudyCounts, StudyOverlap, study_audit
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.data.schema.studies import (
    HELD_OUT,
    NO_TEXT,
    StudyRelease,
    StudyRow,
    StudySplits,
)
from tests.data.tiny_studies import TinyStudies, make_study, tiny_studies


def fits() -> Callable[[str], bool]:
    return lambda text: len(text) <= 29


def made(release: StudyRelease, **used: Any) -> StudySplits:
    honest = StudySplits(
        release.splits["train"], release.splits["validation"], release.splits["test"], (), False
    )
    return replace(honest, **used)


def test_sets_are_counted(tmp_path: Path) -> None:
    found = TinyStudies(tmp_path, tiny_studies(tmp_path), max_text_tokens=8).audit()
    # One image; ten; three laterals; two of unknown view; six times the usual two.
    assert (
        found.sizes["trained"]
        == found.sizes["released train"]
        == StudyCounts(
            studies=10,
            images=28,
            groups=10,
            per_study={1: 1, 2: 7, 3: 1, 10: 1},
            views={"frontal": 13, "lateral": 13, "unknown": 2},
            empty_texts=0,
            cut_texts=10,  # "report", a number, "of the train split .", [CLS] and [SEP]
            distinct_texts=10,
        )
    )
    assert list(found.sizes)[3:] == ["trained", "validation", "test"]
    assert found.sizes["validation"].studies == 5
    assert found.images is not None
    assert found.images.checked == 28 + 10 + 6
    fields = json.loads(found.to_json())
    assert (fields["clean"], fields["failed"]) == (True, False)
    assert fields["sizes"]["trained"]["views"] == {"frontal": 13, "lateral": 13, "unknown": 2}
    assert fields["sizes"]["trained"]["per_study"]["10"] == 1
    enough = TinyStudies(tmp_path, tiny_studies(tmp_path), max_text_tokens=9).audit()
    assert enough.sizes["trained"].cut_texts == 0


def test_equal_and_empty_texts_and_shared_images_are_counted(tmp_path: Path) -> None:
    release = tiny_studies(tmp_path)
    first, second, *rest = release.splits["train"]
    odd = (first, replace(second, text=first.text.upper()), replace(rest[0], text=" . "), *rest[1:])
    release = replace(release, splits={**release.splits, "train": odd})
    found = TinyStudies(tmp_path, release).audit()
    assert found.sizes["released train"].empty_texts == 1
    assert found.sizes["trained"].empty_texts == 0
    assert found.sizes["trained"].studies == 9
    assert found.sizes["trained"].distinct_texts == 8
    assert found.dropped == {NO_TEXT: (1, ("Tiny/train02",))}
    assert "dropped: 1 studies, the report is empty (Tiny/train02)" in found.to_text()


def test_a_released_overlap_is_a_warning_and_is_not_trained_on(tmp_path: Path) -> None:
    release = tiny_studies(tmp_path)
    train, test = list(release.splits["train"]), list(release.splits["test"])
    train[4] = replace(train[4], images=test[0].images)
    train[5], test[1] = replace(train[5], group="p1"), replace(test[1], group="p1")
    release = replace(
        release, splits={**release.splits, "train": tuple(train), "test": tuple(test)}
    )
    found = TinyStudies(tmp_path, release).audit()
    shared = {(o.first, o.second): o for o in found.overlaps}
    assert shared["released train", "test"] == StudyOverlap("released train", "test", 2, 6, 1, 1)
    assert shared["trained", "test"] == StudyOverlap("trained", "test", 0, 6, 0, 1)
    assert not found.failed
    assert found.dropped[HELD_OUT] == (2, ("Tiny/train04", "Tiny/train05"))
    sentence = "2 of 6 test images and 1 of 1 test groups also in released train"
    assert f"warning: {sentence}" in found.to_text()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_training_on_what_is_scored_fails(tmp_path: Path, split: str) -> None:
    release = tiny_studies(tmp_path)
    held = tuple(replace(row, group="p1") for row in release.splits[split])  # type: ignore[index]  # a plain string
    honest = made(release, **{split: held})
    assert study_audit(release, honest, fits, max_pixels=None).clean
    for leak, sentence in (
        (replace(held[0], group=""), f"2 {split} images are in the trained studies"),
        (make_study(tmp_path, "train", 40, group="p1"), f"1 {split} groups (patients) are in the"),
    ):
        wrong = replace(honest, train=(*honest.train, leak))
        found = study_audit(release, wrong, fits, max_pixels=None)
        assert found.failed
        assert len(found.not_clean) == 1
        assert f"NOT CLEAN (clean): {sentence}" in found.to_text()


def test_a_held_out_validation_set_is_no_overlap_with_the_released_one(tmp_path: Path) -> None:
    release = tiny_studies(tmp_path)
    alone: dict[SplitName, tuple[StudyRow, ...]] = {"train": release.splits["train"]}
    data = TinyStudies(tmp_path, replace(release, splits=alone, absent={"test": "no file"}))
    found = data.audit()
    assert [(o.first, o.second, o.images) for o in found.overlaps] == [("trained", "validation", 0)]
    assert "absent: test: no file" in found.to_text()
    assert "warning" not in found.to_text()


def test_bad_images_fail_and_are_named(tmp_path: Path) -> None:
    data = TinyStudies(tmp_path, tiny_studies(tmp_path))
    (tmp_path / "train/04_0.png").unlink()
    (tmp_path / "test/01_1.png").write_bytes(b"no image")
    found = data.audit()
    assert found.failed
    assert found.clean
    assert found.images is not None
    assert found.images.missing == ("train/04_0.png",)
    assert found.images.undecodable == ("test/01_1.png",)
    unread = data.audit(check_images=False)
    assert not unread.failed
    assert "images: not checked" in unread.to_text()


def test_equal_paths_of_two_data_sets_are_two_images(tmp_path: Path) -> None:
    first = tiny_studies(tmp_path / "one").splits["train"]
    second = tuple(
        replace(
            row,
            study_id=row.study_id.replace("Tiny", "Other"),
            images=tuple(
                replace(p, image_id=p.image_id.replace("Tiny", "Other")) for p in row.images
            ),
        )
        for row in tiny_studies(tmp_path / "two").splits["train"]
    )
    second[0].images[0].file.write_bytes(b"no image")
    (tmp_path / "one/train/04_0.png").unlink()
    both = StudyRelease("Mixture", "made", {"train": first + second})
    splits = StudySplits(first + second, (), (), (), False)
    found = study_audit(both, splits, fits)
    assert found.images is not None
    assert found.images.checked == found.sizes["trained"].images == 2 * 28
    assert found.images.missing == ("Tiny/train/04_0.png",)
    assert found.images.undecodable == ("Other/train/00_0.png",)
    assert found.failed


def test_without_its_tokenizer_cut_texts_are_not_counted_and_a_note_says_so(tmp_path: Path) -> None:
    data = TinyStudies(tmp_path, tiny_studies(tmp_path), tokenizer=str(tmp_path / "nowhere"))
    found = data.audit(check_images=False)
    assert found.sizes["trained"].cut_texts is None
    assert "not counted" in found.to_text()
    assert any(note.startswith("cut texts are not counted: The tokenizer") for note in found.notes)
