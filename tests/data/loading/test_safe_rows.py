"""Rows with unsafe names or texts are dropped and counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amif_lightning.data.files.names import NO_TEXT, OUTSIDE
from amif_lightning.data.loading.safe_rows import without_unsafe
from amif_lightning.data.schema.questions import Release
from amif_lightning.data.schema.studies import StudyRelease


def test_a_good_release_is_the_same_object(release: Release, studies: StudyRelease) -> None:
    assert without_unsafe(release) is release
    assert without_unsafe(studies) is studies


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": "a/../../b.png"}, OUTSIDE),
        ({"image": "a\0.png"}, OUTSIDE),
        *(
            ({field: text}, NO_TEXT)
            for field in ("question", "answer", "image_key", "question_type", "qid", "group")
            for text in ("is \ud800 it?", "is \0 it?")
        ),
        ({"references": ("a", "\udfff")}, NO_TEXT),
        ({"variants": ("\0",)}, NO_TEXT),
    ],
)
def test_an_unsafe_question_is_dropped_and_counted(
    release: Release, changes: dict[str, object], reason: str
) -> None:
    first, *others = release.splits["train"]
    bad = replace(first, **changes)
    found = without_unsafe(replace(release, splits={"train": (bad, *others)}))
    assert found.splits["train"] == tuple(others)
    assert [(row.question_id, row.reason) for row in found.dropped] == [(first.row_id, reason)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"text": "half \ud800"}, NO_TEXT), ({"classes": ("\0",)}, NO_TEXT), ({}, OUTSIDE)],
)
def test_an_unsafe_study_is_dropped_and_counted(
    studies: StudyRelease, changes: dict[str, object], reason: str
) -> None:
    first, *others = studies.splits["train"]
    outside = replace(first.images[0], image_id="Tiny/../a.png")
    changes = changes or {"images": (first.images[0], outside)}
    bad = replace(first, **changes)  # type: ignore[arg-type]  # fields of their own types
    found = without_unsafe(replace(studies, splits={"train": (bad, *others)}))
    assert found.splits["train"] == tuple(others)
    assert [row.reason for row in found.dropped] == [reason]
