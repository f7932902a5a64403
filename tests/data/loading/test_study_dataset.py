"""One study as two views and a text, and the batch of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amif_lightning.batch import StudyBatch
from amif_lightning.data.loading.study_dataset import (
    StudyCollator,
    StudySample,
    StudyViews,
    text_identity,
)
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import Augmentation, ImageTransform, read_square
from amif_lightning.data.schema.studies import StudyRow
from tests.data.tiny_studies import make_study, tiny_studies

TOKENIZER = Tokenizer.from_texts(["report of the train split 0 1 2 3 4 5 6 7 8 9"])


def studies(
    rows: Sequence[StudyRow], augmentation: Augmentation = "none", seed: int = 0
) -> StudyViews:
    files = {image.image_id: image.file for row in rows for image in row.images}
    shuffle = augmentation != "none"
    return StudyViews(rows, files, ImageTransform(16, augmentation), shuffle=shuffle, seed=seed)


def joined(samples: Sequence[StudySample], teacher: Any = None) -> StudyBatch:
    return StudyCollator(TOKENIZER, 6, teacher)(samples)


@pytest.fixture
def rows(tmp_path: Path) -> tuple[StudyRow, ...]:
    return tiny_studies(tmp_path).splits["train"]


def test_pixels_are_those_of_the_images_named(rows: tuple[StudyRow, ...]) -> None:
    data = studies(rows)
    for sample in (data[i] for i in range(len(data))):
        for view, name in zip(sample.views, sample.shown, strict=True):
            assert torch.equal(view, ImageTransform(16)(read_square(data.files[name], 16)))


def test_one_image_gives_two_augmentations_of_it(rows: tuple[StudyRow, ...]) -> None:
    sample = studies(rows, "mild")[0, 0]
    assert sample.shown[0] == sample.shown[1]
    assert not torch.allclose(*sample.views, atol=0.1)


def test_a_sample_depends_on_seed_epoch_and_index_alone(rows: tuple[StudyRow, ...]) -> None:
    first, other = studies(rows, "mild"), studies(rows, "mild", seed=1)
    for index in range(len(rows)):
        samples = first[0, index], first[0, index], first[1, index], other[0, index]
        for one, again, epoch, seed in zip(*(sample.views for sample in samples), strict=True):
            assert torch.equal(one, again)
            assert not torch.equal(one, epoch)
            assert not torch.equal(one, seed)


def test_ten_views_change_with_the_epoch(rows: tuple[StudyRow, ...]) -> None:
    data = studies(rows, "mild")
    assert len({data[epoch, 1].shown for epoch in range(30)}) > 10


def test_a_long_text_keeps_its_beginning(tmp_path: Path) -> None:
    row = make_study(tmp_path, "train", 0, text="report " * 50)
    ids = joined([studies([row])[0]]).text.ids[0].tolist()
    assert ids == [TOKENIZER.cls_id, *(TOKENIZER.pieces("report") * 4), TOKENIZER.sep_id]


def test_the_columns_of_a_batch_belong_to_their_study(rows: tuple[StudyRow, ...]) -> None:
    data = studies(rows)
    samples = [data[3], data[1]]
    batch = joined(samples)
    assert batch.position.tolist() == [3, 1]
    assert batch.study_ids == [rows[3].study_id, rows[1].study_id]
    assert list(zip(batch.first_ids, batch.second_ids, strict=True)) == [s.shown for s in samples]
    assert batch.texts == [rows[3].text, rows[1].text]
    assert batch.first.shape == batch.second.shape == (2, 3, 16, 16)
    assert torch.equal(batch.second[1], data[1].views[1])
    ids = batch.text.ids[0][batch.text.mask[0]].tolist()
    assert ids == TOKENIZER.encode(rows[3].text, 6)
    assert batch.teacher is None


def test_a_batch_marks_studies_with_only_view_2_frontal(tmp_path: Path) -> None:
    kinds = [
        ("frontal", "lateral"),
        ("lateral", "lateral"),
        ("", ""),
        ("frontal",),
        ("AP", "LL"),
        ("lateral", "odd"),
    ]
    made = [make_study(tmp_path, "train", number, views) for number, views in enumerate(kinds)]
    data = studies(made, "mild")  # draws which view comes first
    seen: dict[int, set[bool]] = {}
    for epoch in range(20):
        samples = [data[epoch, number] for number in range(len(made))]
        batch = joined(samples)
        assert batch.second_frontal is not None
        assert batch.second_frontal.dtype == torch.bool
        for number, (sample, flag) in enumerate(
            zip(samples, batch.second_frontal.tolist(), strict=True)
        ):
            first, second = (kinds[number][int(name[-5])] for name in sample.shown)
            assert flag == (second in ("frontal", "AP") and first not in ("frontal", "AP"))
            seen.setdefault(number, set()).add(flag)
    assert seen[0] == seen[4] == {False, True}
    assert all(seen[number] == {False} for number in (1, 2, 3, 5))


def test_identities_are_equal_where_they_should_be(tmp_path: Path) -> None:
    row = make_study(tmp_path, "train", 0, text="No nodule.", finding="01")
    same_words = replace(row, study_id="Tiny/b", text="no  NODULE", finding="10")
    same_finding = replace(row, study_id="Tiny/c", text="The lungs are clear.")
    unknown = replace(row, study_id="Tiny/d", text="Nothing.", finding="")
    data = studies([row, same_words, same_finding, unknown, replace(unknown, study_id="Tiny/e")])
    batch = joined([data[i] for i in range(5)])
    assert len(set(batch.study.tolist())) == 5
    a, b, c, d, e = batch.text_id.tolist()
    assert a == b
    assert d == e
    assert len({a, c, d}) == 3
    a, b, c, d, e = batch.relevance.tolist()
    assert a == c
    assert len({a, b, d, e}) == 4
    assert [d, e] == batch.study.tolist()[3:]
    for column in (batch.study, batch.text_id, batch.relevance, batch.position):
        assert column.dtype == torch.long
        assert (column >= 0).all()


def test_identities_are_the_same_on_every_machine() -> None:
    assert text_identity("No nodule.") == text_identity("no nodule") == 6426259887897168854


class Table:
    scale = 2.5

    def image(self, ids: Sequence[str]) -> Tensor:
        return torch.tensor([[float(name[-5]), 0.0] for name in ids])

    def text(self, ids: Sequence[str]) -> Tensor:
        return torch.tensor([[0.0, float(name[-2:])] for name in ids])


def test_the_teachers_features_are_those_of_the_images_shown(rows: tuple[StudyRow, ...]) -> None:
    data = studies(rows, "mild")
    samples = [data[epoch, index] for epoch in range(4) for index in (1, 4)]
    teacher = joined(samples, Table()).teacher
    assert teacher is not None
    assert teacher.scale == 2.5
    for row, sample in enumerate(samples):
        first, second = (float(name[-5]) for name in sample.shown)  # the image's number
        assert teacher.first[row].tolist() == [first, 0.0]
        assert teacher.second[row].tolist() == [second, 0.0]
        assert teacher.text[row].tolist() == [0.0, float(sample.position)]
