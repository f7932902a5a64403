"""Questions of several data sets in one run: rows, leaks, candidates, order and validation."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.batch import VQABatch
from amif_lightning.data.leakage import hash_cache
from amif_lightning.data.leakage.held_out import CONTENT, NAME, PATIENT
from amif_lightning.data.leakage.image_hash import look_at
from amif_lightning.errors import UserError
from data_modules import VQARAD, VQAMed2019
from data_modules.vqa.mixture import QuestionMixture
from tests.data.tiny_parts import named_tiny, with_copy
from tests.data.tiny_release import TRAIN_COUNTS, VALIDATION_COUNTS, Tiny

OPTIONS: dict[str, Any] = {
    "tokenizer": "words",
    "num_workers": 0,
    "image_size": 16,
    "batch_size": 4,
    "eval_batch_size": 4,
    "augmentation": "none",
}


@pytest.fixture
def parts(tmp_path: Path) -> list[Tiny]:
    return [named_tiny(tmp_path, "First"), named_tiny(tmp_path, "Second", seed=1)]


def mixture(parts: list[Tiny], **options: Any) -> QuestionMixture:
    kept = {"hashes": str(parts[0].root.parent / "hashes")}
    return QuestionMixture(list(parts), **(OPTIONS | kept | options))


def trained(data: QuestionMixture) -> Counter[str]:
    return Counter(row.source for row in data.splits.train)


def test_rows_of_all_parts_train_and_validate(parts: list[Tiny]) -> None:
    data = mixture(parts)
    assert trained(data) == {"First": 27, "Second": 27}
    assert len(data.splits.validation) == 32
    assert data.splits.candidates[0] in {"yes", "no"}
    assert {"data/First", "data/Second"} <= set(data.strata)
    assert len({row.image_key for row in data.splits.train}) == 2 * len(TRAIN_COUNTS)
    assert all(data.file_of(row).is_file() for row in data.splits.train)
    assert {data.file_of(row).parents[1].name for row in data.splits.train} == {"First", "Second"}
    stored = {"dataset": "QuestionMixture", "First.dataset": "First", "Second.split_seed": 0}
    assert data.selection().items() >= stored.items()


def test_every_question_is_asked_once_an_epoch(parts: list[Tiny]) -> None:
    data = mixture(parts, questions_per_image=3)
    data.setup("fit")
    batches: list[VQABatch] = list(data.train_dataloader())
    asked = [question for batch in batches for question in batch.question_ids]
    assert sorted(asked) == sorted(row.question_id for row in data.splits.train)
    mixed = [len({q.split("/")[0] for q in batch.question_ids}) for batch in batches]
    assert max(mixed) == 2  # batches hold both


def test_weights_decide_how_often_a_part_is_shown(parts: list[Tiny]) -> None:
    data = mixture(parts, weights=[2.0, 0.5])
    data.setup("fit")
    shown = Counter(
        question.split("/")[0]
        for batch in data.train_dataloader()
        for question in batch.question_ids
    )
    groups = sum(TRAIN_COUNTS)  # one question an image and group
    assert shown == {"First": 2 * groups, "Second": round(groups / 2)}


def test_a_training_image_that_another_part_scores_goes(
    tmp_path: Path, parts: list[Tiny], printed: list[str]
) -> None:
    first, second = parts
    scored = second.made.splits["validation"][0], second.made.splits["test"][-1]
    with_copy(first, (second, scored[0]), place=0)  # looks like a validation image
    shutil.copy(second.file_of(scored[1]), tmp_path / "same_name.png")
    with_copy(first, (first, first.made.splits["train"][9]), place=2, as_name=scored[1].image)
    data = mixture(parts)
    reasons = Counter(row.reason for row in data.splits.dropped)
    assert reasons == {CONTENT: TRAIN_COUNTS[0], NAME: TRAIN_COUNTS[2]}
    assert trained(data) == {"First": 27 - TRAIN_COUNTS[0] - TRAIN_COUNTS[2], "Second": 27}
    data.setup("fit")
    assert f"QuestionMixture: {TRAIN_COUNTS[0]} rows dropped: {CONTENT}" in printed


def test_held_out_sets_lose_none_of_their_images_to_training(
    tmp_path: Path, parts: list[Tiny]
) -> None:
    third = named_tiny(tmp_path, "Third", seed=2)
    with_copy(parts[1], (third, third.made.splits["train"][0]), place=1)
    assert trained(mixture(parts)) == {"First": 27, "Second": 27}
    held = mixture(parts, held_out=[third])
    assert trained(held) == {"First": 27, "Second": 27 - TRAIN_COUNTS[1]}
    assert held.selection()["held_out"] == "Third"


def test_validation_shares_the_questions_out_evenly(parts: list[Tiny]) -> None:
    data = mixture(parts, validation_questions=10)
    rows = data._validation_sample(data.splits.validation)
    assert Counter(row.source for row in rows) == {"First": 5, "Second": 5}
    alone = parts[0]._validation_sample(parts[0].splits.validation)
    assert [r.question_id for r in rows[:5]] == [r.question_id for r in alone[:5]]
    assert sum(VALIDATION_COUNTS) == 16


def test_what_a_mixture_cannot_be_made_of(tmp_path: Path, parts: list[Tiny]) -> None:
    with pytest.raises(UserError, match=r"protocols clean and literature"):
        mixture([parts[0], named_tiny(tmp_path, "Third", protocol="literature")])
    with pytest.raises(UserError, match=r"Two parts of the mixture are First"):
        _ = mixture([parts[0], parts[0]]).splits
    with pytest.raises(UserError, match=r"has 1 numbers for 2 parts"):
        mixture(parts, weights=[1.0])
    with pytest.raises(UserError, match="First is a part of the mixture and held out of it"):
        _ = mixture(parts, held_out=[named_tiny(tmp_path, "First")]).splits
    with pytest.raises(UserError, match="a mixture itself"):
        _ = QuestionMixture([mixture(parts), parts[0]], **OPTIONS).splits
    with pytest.raises(TypeError, match="split_seed"):
        mixture(parts, split_seed=3)  # it would have no effect
    for stage in ("test", "predict"):
        with pytest.raises(UserError, match="test --data First or Second --ckpt_path"):
            mixture(parts).setup(stage)


@pytest.mark.real_data
def test_shared_images_of_the_real_sets_go(real_data: Path, tmp_path: Path) -> None:
    """38 names are shared; by content more go: slices beside a scored one."""
    rad = VQARAD(str(real_data / "vqa_rad"))
    med = VQAMed2019(str(real_data / "vqa_med_2019"), test_split="validation")
    data = QuestionMixture([rad, med], hashes=str(tmp_path), **OPTIONS)
    images = {
        reason: {r.detail for r in data.splits.dropped if r.reason == reason}
        for reason in (NAME, CONTENT)
    }
    scored = {r.image_key for s in ("validation", "test") for r in med.release.splits.get(s, ())}
    scored |= {r.image_key for r in med.splits.validation}
    rad_scored = {r.image_key for r in rad.release.splits["test"]}
    rad_scored |= {r.image_key for r in rad.splits.validation}
    expected = len({r.image_key for r in rad.splits.train} & scored)
    expected += len({r.image_key for r in med.splits.train} & rad_scored)
    # Images that one set tests do not choose checkpoints in the other one either.
    rad_tests = {r.image_key for r in rad.splits.test}
    med_tests = {r.image_key for r in med.splits.test}
    chosen_on = {r.image_key for r in med.splits.validation} & rad_tests
    chosen_on |= {r.image_key for r in rad.splits.validation} & med_tests
    assert len(chosen_on) == 3
    assert len(images[NAME]) == expected + len(chosen_on)
    assert 0 < len(images[CONTENT]) < 60
    assert not data.audit().not_clean


def test_a_validation_image_that_another_part_tests_does_not_choose(parts: list[Tiny]) -> None:
    first, second = parts
    rows = first.made.splits["validation"]
    shutil.copy(second.file_of(second.made.splits["test"][0]), first.file_of(rows[0]))
    data = mixture(parts)
    assert len(data.splits.validation) == 32 - VALIDATION_COUNTS[0]
    assert {row.reason for row in data.splits.dropped} == {CONTENT}


def test_a_patient_goes_with_a_image(parts: list[Tiny]) -> None:
    first, second = parts
    train = tuple(
        replace(row, group="p" if row.image_key in ("train00", "train01") else "")
        for row in first.made.splits["train"]
    )
    first.made = replace(first.made, splits={**first.made.splits, "train": train})
    shutil.copy(second.file_of(second.made.splits["test"][0]), first.file_of(train[0]))
    data = mixture(parts)
    reasons = Counter(row.reason for row in data.splits.dropped)
    assert reasons == {CONTENT: TRAIN_COUNTS[0], PATIENT: TRAIN_COUNTS[1]}


def test_what_is_not_compared_is_noted_and_not_claimed(tmp_path: Path, parts: list[Tiny]) -> None:
    third = named_tiny(tmp_path, "Third", seed=2)
    third.file_of(third.made.splits["test"][0]).unlink()
    data = mixture(parts, held_out=[third])
    assert any("1 of 19 scored images of Third are not on disk" in n for n in data.splits.notes)
    assert "held_out" not in data.selection()
    fourth = named_tiny(tmp_path, "Fourth", seed=3)
    fourth.made = replace(fourth.made, absent={"test": "no folder"})
    notes = mixture(parts, held_out=[fourth]).splits.notes
    assert "the test images of Fourth are not compared: no folder" in notes


def test_the_audit_is_clean_and_finds_a_planted_leak(parts: list[Tiny]) -> None:
    data = mixture(parts)
    found = data.audit()
    assert not found.failed, found.to_text()
    assert found.sizes["trained"].rows == 54
    leaked = tuple(row for row in data.release.splits["test"] if row.source == "First")
    data.__dict__["splits"] = replace(data.splits, train=(*data.splits.train, *leaked))
    found = data.audit()
    assert found.failed
    assert any("equal a test question" in sentence for sentence in found.not_clean)


def test_no_image_is_hashed_once_the_data_is_prepared(
    parts: list[Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = parts
    with_copy(first, (second, second.made.splits["test"][0]), place=0)
    read: list[Path] = []

    def watched(path: Path, max_pixels: int) -> Any:
        read.append(path)
        return look_at(path)

    monkeypatch.setattr(hash_cache, "look_at", watched)
    mixture(parts).prepare_data()
    assert len(read) == 38
    data = mixture(parts)
    data.setup("fit")
    assert trained(data) == {"First": 27 - TRAIN_COUNTS[0], "Second": 27}
    assert len(read) == 38
