"""Which studies are dropped, and which are held out for validation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import (
    HELD_OUT,
    NO_IMAGE,
    NO_TEXT,
    StudyRelease,
    StudyRow,
    split_studies,
)
from amif_lightning.errors import UserError
from tests.data.tiny_studies import make_study, tiny_studies


def release(**splits: tuple[StudyRow, ...]) -> StudyRelease:
    named: dict[SplitName, tuple[StudyRow, ...]] = {}
    for name in ("train", "validation", "test"):
        if name in splits:
            named[name] = splits[name]
    return StudyRelease("Tiny", "made", named)


def test_a_whole_release_is_kept_in_its_order(tmp_path: Path) -> None:
    made = tiny_studies(tmp_path)
    found = split_studies(made)
    assert (found.train, found.validation, found.test) == (
        made.splits["train"],
        made.splits["validation"],
        made.splits["test"],
    )
    assert found.dropped == ()
    assert not found.held_out_from_train


@pytest.mark.parametrize("text", ["", "  ", "...", "?!", "́"])
def test_an_empty_report_is_dropped_from_every_split(tmp_path: Path, text: str) -> None:
    made = tiny_studies(tmp_path)
    splits = {s: (replace(rows[0], text=text), *rows[1:]) for s, rows in made.splits.items()}
    found = split_studies(replace(made, splits=splits))
    assert [len(found.train), len(found.validation), len(found.test)] == [9, 4, 2]
    assert [row.reason for row in found.dropped] == [NO_TEXT] * 3
    assert {row.question_id for row in found.dropped} == {
        rows[0].study_id for rows in made.splits.values()
    }


def test_a_study_without_image_is_dropped_once(tmp_path: Path) -> None:
    made = tiny_studies(tmp_path)
    rows = made.splits["train"]
    bare = (replace(rows[0], images=()), replace(rows[1], images=(), text=""), *rows[2:])
    earlier = DroppedRow("Tiny/x", "the reader's reason")
    found = split_studies(replace(made, splits={**made.splits, "train": bare}, dropped=(earlier,)))
    assert found.train == rows[2:]
    assert [row.reason for row in found.dropped] == ["the reader's reason", NO_IMAGE, NO_IMAGE]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_patients_and_images_do_not_train(tmp_path: Path, split: SplitName) -> None:
    made = tiny_studies(tmp_path)
    held = tuple(replace(row, group="anna") for row in made.splits[split])
    train = list(made.splits["train"])
    train[0] = replace(train[0], group="anna")
    train[1] = replace(train[1], images=(*train[1].images, held[1].images[1]))
    train[2] = replace(train[2], group="berta")
    found = split_studies(replace(made, splits={**made.splits, "train": tuple(train), split: held}))
    assert found.train == tuple(train[2:])
    assert [row.reason for row in found.dropped] == [HELD_OUT] * 2


def test_a_dropped_study_holds_nobody_out(tmp_path: Path) -> None:
    made = tiny_studies(tmp_path)
    train = (replace(made.splits["train"][0], group="anna"), *made.splits["train"][1:])
    empty = replace(made.splits["test"][0], group="anna", text="")
    found = split_studies(replace(made, splits={**made.splits, "train": train, "test": (empty,)}))
    assert found.train == train


def test_a_hold_out_keeps_patients_whole_and_ignores_the_order(tmp_path: Path) -> None:
    rows = tuple(
        make_study(tmp_path, "train", i, ("frontal",), group=f"patient {i // 3}") for i in range(30)
    )
    found = split_studies(release(train=rows), validation_fraction=0.3)
    assert found.held_out_from_train
    assert (len(found.train), len(found.validation)) == (21, 9)
    assert Counter(row.group for row in found.validation).most_common() == [
        (group, 3) for group, _ in Counter(row.group for row in found.validation).most_common()
    ]
    assert not {r.group for r in found.train} & {r.group for r in found.validation}
    turned = split_studies(release(train=rows[::-1]), validation_fraction=0.3)
    assert set(turned.validation) == set(found.validation)
    other = split_studies(release(train=rows), split_seed=1, validation_fraction=0.3)
    assert set(other.validation) != set(found.validation)


def test_one_study_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be held out"):
        split_studies(release(train=(make_study(tmp_path, "train", 0),)))


def test_nothing_is_held_out_out_of_nothing(tmp_path: Path) -> None:
    found = split_studies(release(test=(make_study(tmp_path, "test", 0),)))
    assert (found.train, found.validation, len(found.test)) == ((), (), 1)
