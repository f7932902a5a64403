from __future__ import annotations

from pathlib import Path

from amif_lightning.data.schema.image_overlap import Overlap, overlap
from tests.data.tiny_release import make_rows


def test_images_are_counted_once_whatever_their_questions(tmp_path: Path) -> None:
    train = make_rows(tmp_path, "train", [3, 1, 2])
    other = make_rows(tmp_path, "test", [2])
    assert overlap("a", train, "b", train[:3] + other) == Overlap("a", "b", 1, 2)
    assert overlap("b", other, "a", train) == Overlap("b", "a", 0, 3)
