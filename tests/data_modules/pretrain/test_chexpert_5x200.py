"""The test sets of five findings: eligible images, the draw, and no training."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.data.files.names import OUTSIDE
from amif_lightning.data.files.tables import MALFORMED, NO_FILE
from amif_lightning.errors import UserError
from data_modules.pretrain.chexpert_5x200 import (
    BAD_LABEL,
    PROMPTS,
    TWICE,
    CheXpert5x200,
    FiveClasses,
    MIMIC5x200,
)
from tests.fakes_corpora import CLASSES, QUICK, write_chexpert, write_mimic_cxr

OPTIONS = QUICK


def drawn(data: FiveClasses) -> dict[str, str]:
    return {row.images[0].image_id: row.finding for row in data.splits.test}


@pytest.fixture
def two_per_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FiveClasses, "per_class", 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_chexpert(tmp_path)
    return tmp_path


def test_frontal_images_with_exactly_one_positive(root: Path) -> None:
    data = CheXpert5x200(str(root), **OPTIONS)
    assert Counter(drawn(data).values()) == dict.fromkeys(CLASSES, 3) | {"Edema": 4}
    for row in data.splits.test:
        assert row.classes == (row.finding,)
        assert row.text in PROMPTS[row.finding]
        assert row.group in row.images[0].image_id
        assert row.images[0].file.is_file()
    notes = "\n".join(data.release.notes)
    assert "3 of 200 images of Cardiomegaly" in notes


def test_the_draw_depends_on_the_seed_alone(
    root: Path, two_per_class: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn(CheXpert5x200(str(root), **OPTIONS))
    assert Counter(first.values()) == dict.fromkeys(CLASSES, 2)
    table = root / "train.csv"
    header, *rows = table.read_text().splitlines()
    random.Random(1).shuffle(rows)
    # The other copy of the release, in another order, with the images elsewhere.
    text = "\n".join([header, *rows]).replace("CheXpert-v1.0-small", "CheXpert-v1.0")
    table.write_text(text)
    assert drawn(CheXpert5x200(str(root), **OPTIONS)) == first
    others = [drawn(CheXpert5x200(str(root), draw_seed=s, **OPTIONS)) for s in (1, 2)]
    assert any(other != first for other in others)
    monkeypatch.setattr(FiveClasses, "per_class", 3)
    assert set(first) < set(drawn(CheXpert5x200(str(root), **OPTIONS)))


def test_the_root_may_be_the_release_itself(root: Path) -> None:
    inner = root / "CheXpert-v1.0-small"
    (root / "train.csv").rename(inner / "train.csv")
    data = CheXpert5x200(str(inner), **OPTIONS)
    assert all(row.images[0].file.is_file() for row in data.splits.test)


def test_batches_and_prompts(root: Path) -> None:
    data = CheXpert5x200(str(root), eval_batch_size=16, **OPTIONS)
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert batch.first.shape == (16, 3, 16, 16)
    # All images of a class, and none else, are relevant to each other.
    assert len(set(batch.relevance.tolist())) == 5
    assert list(data.class_prompts()) == list(CLASSES)
    assert data.class_labels("test")[0] == ("Atelectasis",)
    assert set(data.training_texts()) == {t for texts in PROMPTS.values() for t in texts}


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_there_is_nothing_to_train(root: Path, stage: str) -> None:
    with pytest.raises(UserError, match="CheXpert5x200 is a test set and holds nothing to train"):
        CheXpert5x200(str(root), **OPTIONS).setup(stage)


def test_a_missing_image_is_replaced_by_none(root: Path, two_per_class: None) -> None:
    before = drawn(CheXpert5x200(str(root), **OPTIONS))
    gone = CheXpert5x200(str(root), **OPTIONS).splits.test[0]
    gone.images[0].file.unlink()
    data = CheXpert5x200(str(root), missing_images="skip", **OPTIONS)
    assert drawn(data) == {k: v for k, v in before.items() if k != gone.study_id}
    assert [row.reason for row in data.splits.dropped] == [NO_FILE]


def test_labels_that_are_missing_or_empty_are_one_sentence(root: Path) -> None:
    table = root / "train.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:1]))
    with pytest.raises(UserError, match="has no test studies that can be used"):
        CheXpert5x200(str(root), **OPTIONS).setup("test")
    table.unlink()
    with pytest.raises(UserError, match=r"train\.csv is not there, so fetch CheXpert from"):
        CheXpert5x200(str(root), **OPTIONS).read_release()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"50000008": "Atelectasis", "50000009": "Cardiomegaly"}),
        (
            {"take_from": "held_out"},
            {"50000007": "Atelectasis", "50000008": "Atelectasis", "50000009": "Cardiomegaly"},
        ),
        (
            {"take_from": "any"},
            {
                "50000002": "Pleural Effusion",
                "50000003": "Edema",
                "50000004": "Cardiomegaly",
                "50000007": "Atelectasis",
                "50000008": "Atelectasis",
                "50000009": "Cardiomegaly",
            },
        ),
    ],
)
def test_mimic_is_drawn_from_its_test_split(
    tmp_path: Path, options: dict[str, Any], expected: dict[str, str]
) -> None:
    write_mimic_cxr(tmp_path, reports=False)
    data = MIMIC5x200(str(tmp_path), **options, **OPTIONS)
    found = {image_id.split("/")[-2][1:]: name for image_id, name in drawn(data).items()}
    assert found == expected
    assert all(row.images[0].file.is_file() for row in data.splits.test)
    trains = [note for note in data.release.notes if "official training split" in note]
    assert bool(trains) == (options.get("take_from") == "any")
    assert all(note.startswith("3 images") for note in trains)
    data.setup("test")


@pytest.mark.parametrize(
    ("path", "side", "labels", "reason"),
    [
        ("a/patient7/b.jpg", "Frontal", "1,0,-1.0,,", ""),
        ("a/patient7/b.jpg", "Lateral", "1,,,,", None),
        ("a/patient7/b.jpg", "?", "1,,,,", None),
        ("a/patient7/b.jpg", "Frontal", "1,1.0,,,", None),
        ("a/patient7/b.jpg", "Frontal", "2,,,,", BAD_LABEL),
        ("a/patient7/b.jpg", "Frontal", "yes,,,,", BAD_LABEL),
        ("../a.jpg", "Frontal", "1,,,,", OUTSIDE),
        ("/x.jpg", "Frontal", "1,,,,", OUTSIDE),
        ("", "Frontal", "1,,,,", OUTSIDE),
        ("CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg", "Frontal", "1,,,,", TWICE),
        ("a/patient7/b.jpg", "Frontal", "1", MALFORMED),
    ],
)
def test_each_line_is_eligible_or_has_its_reason(
    root: Path, path: str, side: str, labels: str, reason: str | None
) -> None:
    """An empty reason: the image is drawn; None: its line is valid and not eligible."""
    table = root / "train.csv"
    header = table.read_text().splitlines()[0].split(",")
    cells = dict(zip(CLASSES, labels.split(","), strict=False))
    line = {"Path": path, "Frontal/Lateral": side, "AP/PA": "AP"} | cells
    row = [line.get(name, "") for name in header]
    with table.open("a", newline="") as stream:
        stream.write(",".join(row if reason != MALFORMED else row[:-1]) + "\n")
    data = CheXpert5x200(str(root), **OPTIONS)
    new = [row for row in data.splits.test if "patient7/b" in row.study_id]
    assert (len(data.splits.test) - len(new), len(new)) == (16, int(reason == ""))
    assert [row.reason for row in data.splits.dropped] == ([reason] if reason else [])
