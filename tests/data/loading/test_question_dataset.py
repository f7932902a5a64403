"""Groups hold every question once an epoch, in every process, and share their image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from amif_lightning.batch import VQABatch
from amif_lightning.data.loading.question_dataset import (
    QuestionCollator,
    QuestionGroups,
    QuestionSample,
    other_images,
)
from amif_lightning.data.loading.samplers import EpochIndexSampler
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import DecodedImages, ImageTransform, read_square
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.seeding import stable_seed
from tests.data.tiny_release import TRAIN_COUNTS, make_rows

STRATA = ("overall", "closed/field", "open/answer")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("questions")


@pytest.fixture(scope="module")
def rows(root: Path) -> list[VQAExample]:
    return make_rows(root, "train", TRAIN_COUNTS)


@pytest.fixture(scope="module")
def collate(rows: list[VQAExample]) -> QuestionCollator:
    texts = [row.question for row in rows] + [row.references[0] for row in rows]
    return QuestionCollator(Tokenizer.from_texts(texts), 12, 8, STRATA)


def files_in(root: Path) -> Callable[[VQAExample], Path]:
    return lambda row: root / row.image


def groups(rows: list[VQAExample], root: Path, per_image: int, **options: Any) -> QuestionGroups:
    given: dict[str, Any] = {"shuffle": True, "seed": 5, "transform": ImageTransform(16, "mild")}
    given |= options
    return QuestionGroups(rows, files_in(root), given.pop("transform"), per_image, **given)


def asked(sample: QuestionSample) -> tuple[str, ...]:
    return tuple(row.question_id for row in sample.rows)


def epoch_of(data: QuestionGroups, epoch: int) -> list[tuple[str, ...]]:
    return [asked(data[epoch, index]) for index in range(len(data))]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("per_image", [1, 2, 3, 8])
def test_every_question_once_an_epoch(
    rows: list[VQAExample], root: Path, per_image: int, shuffle: bool
) -> None:
    data = groups(rows, root, per_image, shuffle=shuffle)
    assert len(data) == sum(-(-count // per_image) for count in TRAIN_COUNTS)
    for epoch in range(3):
        made = epoch_of(data, epoch)
        assert Counter(q for group in made for q in group) == Counter(r.question_id for r in rows)
        assert max(map(len, made)) <= per_image
        for sample in (data[epoch, index] for index in range(len(data))):
            assert {row.image_key for row in sample.rows} == {sample.image_key}


def test_groups_change_with_the_epoch_and_the_seed_and_nothing_else(
    rows: list[VQAExample], root: Path
) -> None:
    data = groups(rows, root, 2)
    first = epoch_of(data, 1)
    torch.manual_seed(99)
    assert epoch_of(data, 0) != first  # in between, the state of the data set could move
    assert epoch_of(data, 1) == first
    assert epoch_of(groups(rows, root, 2), 1) == first
    assert epoch_of(groups(rows, root, 2, seed=6), 1) != first
    still = groups(rows, root, 2, shuffle=False)
    assert epoch_of(still, 0) == epoch_of(still, 1)


def test_the_order_of_other_images_does_not_change_a_group(
    rows: list[VQAExample], root: Path
) -> None:
    moved = sorted(rows, key=lambda row: (row.image_key == "train04", row.image_key))
    first = {frozenset(g) for g in epoch_of(groups(rows, root, 2), 3)}
    assert {frozenset(g) for g in epoch_of(groups(moved, root, 2), 3)} == first


def test_augmentation_is_drawn_anew_each_epoch_and_for_each_group(
    rows: list[VQAExample], root: Path
) -> None:
    data = groups(rows, root, 1)
    first, again, later, sibling = data[0, 0], data[0, 0], data[1, 0], data[0, 1]
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, later.image)
    assert first.image_key == sibling.image_key
    assert not torch.equal(first.image, sibling.image)


@pytest.mark.parametrize("cached", [False, True])
def test_persistent_workers_give_the_same_samples_as_none(
    rows: list[VQAExample], root: Path, collate: QuestionCollator, cached: bool
) -> None:
    def made(workers: int) -> list[VQABatch]:
        size = ImageTransform(16, "mild").decoded_size
        cache = DecodedImages([root / row.image for row in rows], size) if cached else None
        data: Any = groups(rows, root, 2, cache=cache)
        sampler = EpochIndexSampler(data, 1, 0, seed=2)
        loader = DataLoader(
            data,
            4,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
        )
        batches: list[VQABatch] = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            batches += list(loader)
        return batches

    for alone, parallel in zip(made(0), made(2), strict=True):
        assert alone.question_ids == parallel.question_ids
        assert torch.equal(alone.images, parallel.images)
        assert torch.equal(alone.question.ids, parallel.question.ids)
        assert torch.equal(alone.answer.ids, parallel.answer.ids)
        assert torch.equal(alone.image_index, parallel.image_index)


def test_several_questions_share_one_image_row(
    rows: list[VQAExample], root: Path, collate: QuestionCollator
) -> None:
    data = groups(rows, root, 3, shuffle=False)
    batch = collate([data[0], data[1], data[2]])  # images of 3, 1 and 4 questions
    assert batch.images.shape == (3, 3, 16, 16)
    assert batch.image_index.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert batch.image_keys == ["train00"] * 3 + ["train01"] + ["train02"] * 3
    assert batch.question_ids == [row.question_id for row in rows[:7]]
    assert batch.questions == [row.question for row in rows[:7]]
    assert batch.references == [row.references for row in rows[:7]]
    assert len(batch) == 7
    assert torch.equal(batch.images[1], data[1].image)


def test_tokens_and_strata_belong_to_their_question(
    rows: list[VQAExample], root: Path, collate: QuestionCollator
) -> None:
    data = groups(rows, root, 3, shuffle=False)
    batch = collate([data[index] for index in range(5)])
    by_id = {row.question_id: row for row in rows}
    for i, question_id in enumerate(batch.question_ids):
        row = by_id[question_id]
        for tokens, text in ((batch.question, row.question), (batch.answer, row.references[0])):
            ids = tokens.ids[i][tokens.mask[i]].tolist()
            assert ids[0] == collate.tokenizer.cls_id
            assert ids[-1] == collate.tokenizer.sep_id
            assert ids[1:-1] == collate.tokenizer.pieces(text)
            assert not tokens.ids[i][~tokens.mask[i]].any()  # padding
        closed = row.answer_type == "closed"
        assert batch.strata[i].tolist() == [True, closed, not closed]
    assert batch.strata.dtype == torch.bool


def test_the_control_shows_another_image_with_its_name(rows: list[VQAExample], root: Path) -> None:
    shown = other_images([row.image_key for row in rows], 0)
    options: dict[str, Any] = {"shuffle": False, "transform": ImageTransform(32)}
    own, control = (groups(rows, root, 8, shown=other, **options) for other in (None, shown))
    images = {own[i].image_key: own[i].image for i in range(len(own))}
    for index in range(len(own)):
        sample = control[index]
        assert asked(sample) == asked(own[index])
        assert sample.image_key == shown[sample.rows[0].image_key] != sample.rows[0].image_key
        assert torch.equal(sample.image, images[sample.image_key])
    path = root / rows[0].image
    assert torch.equal(images["train00"], ImageTransform(32)(read_square(path, 32)))


@pytest.mark.parametrize("count", [2, 3, 10, 97])
def test_the_control_permutes_and_leaves_no_image_in_place(count: int) -> None:
    images = [f"i{k % count}" for k in range(3 * count)]
    for seed in range(5):
        shown = other_images(images, seed)
        assert sorted(shown) == sorted(shown.values()) == sorted(set(images))
        assert all(image != other for image, other in shown.items())
        assert other_images(images[::-1], seed) == shown
    if count > 3:
        assert other_images(images, 0) != other_images(images, 1)


def test_a_single_image_stays() -> None:
    assert other_images(["a", "a"], 0) == {"a": "a"}


def test_seeds_tell_their_parts_apart() -> None:
    seeds = {stable_seed(*parts) for parts in ((1, 2), (12,), (2, 1), ("1", "2", ""), (1, 23))}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))  # torch takes all of them


def test_groups_and_control_are_fixed_for_ever(tmp_path: Path) -> None:
    """Another process, machine or version must continue with the same samples."""
    data = groups(make_rows(tmp_path, "train", [5]), tmp_path, 2)
    assert [[row.qid for row in data[3, i].rows] for i in range(3)] == [
        ["3", "1"],
        ["2", "4"],
        ["0"],
    ]
    assert other_images(list("abcdef"), 4) == dict(zip("dcfeab", "cfeabd", strict=True))


def test_the_seed_formula_is_fixed() -> None:
    # `printf 'a\x1f1' | sha256sum` starts with 839e11a421d370be; half of that.
    assert stable_seed("a", 1) == 0x839E11A421D370BE >> 1
