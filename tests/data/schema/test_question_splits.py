from __future__ import annotations

import random
from dataclasses import replace

import pytest

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.answers import vocabulary
from amif_lightning.data.schema.question_splits import (
    Overlap,
    hold_out_images,
    images_of,
    linked_groups,
    overlap,
    protocol_label,
    restated,
    restating,
    split_questions,
)
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Protocol

VISIBLE = "literature (test answers visible)"


def row(
    number: int,
    split: SplitName,
    image: str,
    question: str,
    answer: str,
    variants: tuple[str, ...] = (),
) -> VQAExample:
    return VQAExample(
        question_id=f"X/{split}/{number}",
        qid="",
        split=split,
        image_key=image,
        image=f"{image}.jpg",
        question=question,
        answer=answer,
        references=(normalise(answer),),
        variants=variants,
    )


def release(validation: bool = False, test: bool = True) -> Release:
    train = [
        row(2 * i + k, "train", f"t{i}", f"question {k}?", f"train{k}")
        for i in range(20)
        for k in range(2)
    ]
    splits: dict[SplitName, tuple[VQAExample, ...]] = {"train": tuple(train)}
    if validation:
        splits["validation"] = (
            row(0, "validation", "v0", "question 0?", "train0"),
            row(1, "validation", "v1", "question 9?", "unseen validation"),
        )
    if test:
        splits["test"] = (
            row(0, "test", "t0", "QUESTION 0", "train0"),
            row(1, "test", "t1", "another?", "unseen test", ("Question 1", "a frame")),
            row(2, "test", "s0", "question 0?", "train0"),
        )
    return Release("X", "fake", splits)


def test_clean_candidates_and_vocabulary_hold_no_test_answer() -> None:
    # The reference implementation ranks the test answers and builds its vocabulary from them.
    part = split_questions(release(validation=True), "clean")
    assert set(part.candidates) == {"train0", "train1"}
    assert set(vocabulary(part.answer_rows, "words", 99)) == {"train0", "train1"}


def test_literature_candidates_hold_the_answers_of_all_splits_and_say_so() -> None:
    part = split_questions(release(validation=True), "literature")
    assert set(part.candidates) == {"train0", "train1", "unseen validation", "unseen test"}
    assert "unseen" in vocabulary(part.answer_rows, "words", 99)
    assert part.label == VISIBLE
    assert any(note.startswith(VISIBLE) for note in part.notes)


def test_literature_without_test_answers_says_so() -> None:
    part = split_questions(release(validation=True, test=False), "literature")
    assert set(part.candidates) == {"train0", "train1", "unseen validation"}
    assert any("test answers are not on disk" in note for note in part.notes)
    assert part.test == ()
    # Audits and records use the same label.
    assert part.label == "literature (candidates from train + validation)"
    scored = split_questions(
        release(validation=True, test=False), "literature", test_split="validation"
    )
    assert scored.label == "literature (validation answers visible)"
    assert "test" in part.absent


@pytest.mark.parametrize("protocol", ["clean", "literature"])
def test_validation_is_never_the_test_set(protocol: Protocol) -> None:
    part = split_questions(release(), protocol)
    assert part.held_out_from_train
    assert part.validation
    assert {r.split for r in part.validation} == {"train"}
    assert not {r.question_id for r in part.validation} & {r.question_id for r in part.test}


@pytest.mark.parametrize("protocol", ["clean", "literature"])
@pytest.mark.parametrize("seed", range(5))
def test_no_validation_image_is_trained_on_after_a_hold_out(protocol: Protocol, seed: int) -> None:
    part = split_questions(release(), protocol, split_seed=seed)
    assert len(images_of(part.validation)) == 2
    assert images_of(part.train).isdisjoint(images_of(part.validation))
    # Every released row is trained on, validated on, or dropped and counted.
    used = len(part.train) + len(part.validation) + len(part.dropped)
    assert used == len(part.released_train) == 40


def test_hold_out_does_not_depend_on_the_order_of_rows() -> None:
    rows = list(release().splits["train"])
    shuffled = list(rows)
    random.Random(3).shuffle(shuffled)
    assert shuffled != rows
    assert hold_out_images(rows, 7, 0.2) == hold_out_images(shuffled, 7, 0.2)


def test_hold_out_depends_on_the_split_seed_and_nests() -> None:
    rows = release().splits["train"]
    chosen = [hold_out_images(rows, seed, 0.2) for seed in range(4)]
    assert len(set(chosen)) > 1
    assert {len(images) for images in chosen} == {4}
    assert hold_out_images(rows, 0, 0.1) < hold_out_images(rows, 0, 0.5)


def test_hold_out_is_fixed_for_ever() -> None:
    # Records of different versions stay comparable only if the split does not move.
    assert sorted(hold_out_images(release().splits["train"], 0, 0.1)) == ["t0", "t7"]


def test_hold_out_needs_two_images() -> None:
    with pytest.raises(UserError, match=r"from 1 training image.*use more data"):
        hold_out_images([row(0, "train", "t", "q", "a")], 0, 0.1)


def test_clean_drops_trained_rows_that_restate_a_test_question() -> None:
    part = split_questions(release(), "clean")
    reasons = {d.question_id: d.reason for d in part.dropped}
    # Row 0: equal up to normalisation. Row 3: equal to the released rephrase of a test question.
    # The same words on another image are another question.
    assert set(reasons) == {"X/train/0", "X/train/3"}
    assert all("not clean" in reason for reason in reasons.values())
    assert restating((*part.train, *part.validation), part.test) == ()
    assert len(part.released_train) == 40


def test_literature_keeps_the_restating_rows() -> None:
    part = split_questions(release(), "literature")
    kept = {r.question_id for r in (*part.train, *part.validation)}
    assert {"X/train/0", "X/train/3"} <= kept
    assert part.dropped == ()


def test_restated_needs_the_right_answer_too() -> None:
    rel = release()
    # Row 3 restates the second test question but answers 'train1'.
    assert [r.question_id for r in restated(rel.splits["train"], rel.splits["test"])] == [
        "X/test/0"
    ]


@pytest.mark.parametrize("protocol", ["clean", "literature"])
def test_rows_on_released_validation_images_are_not_trained_on(protocol: Protocol) -> None:
    rel = release(validation=True)
    validation = (*rel.splits["validation"], row(2, "validation", "t5", "new?", "train0"))
    rel = replace(rel, splits={**rel.splits, "validation": validation})
    part = split_questions(rel, protocol)
    assert part.validation == validation
    assert not part.held_out_from_train
    assert images_of(part.train).isdisjoint(images_of(part.validation))
    shown = [d for d in part.dropped if "shows a validation image" in d.reason]
    assert [d.question_id for d in shown] == ["X/train/10", "X/train/11"]


def test_test_split_validation_scores_the_released_set_and_holds_out_another() -> None:
    rel = release(validation=True)
    part = split_questions(rel, "clean", test_split="validation")
    assert part.test == rel.splits["validation"]
    assert {r.split for r in part.validation} == {"train"}
    assert not images_of(part.validation) & images_of(part.test)
    assert set(part.candidates) == {"train0", "train1"}


def test_test_split_validation_without_one_is_refused() -> None:
    with pytest.raises(UserError, match="layout 'fake' has none on disk"):
        split_questions(release(), "clean", test_split="validation")


def test_images_of_a_group_are_held_out_together() -> None:
    # Images t0, t1 are one patient's, t2, t3 the next one's.
    rows = [
        replace(r, group=f"patient {int(r.image_key[1:]) // 2}") for r in release().splits["train"]
    ]
    for seed in range(5):
        chosen = hold_out_images(rows, seed, 0.3)
        assert len(chosen) == 6
        assert len({r.group for r in rows if r.image_key in chosen}) == 3
    with pytest.raises(UserError, match="from 1 training image"):
        hold_out_images(rows[:4], 0, 0.1)


def test_baselines_of_a_held_out_validation_set_do_not_look_up_its_own_rows() -> None:
    part = split_questions(release(), "clean")
    assert part.baseline_rows("test") == part.released_train
    assert images_of(part.baseline_rows("validation")).isdisjoint(images_of(part.validation))


def test_training_rows_are_required() -> None:
    with pytest.raises(UserError, match="no usable training rows"):
        split_questions(Release("X", "fake", {}), "clean")


def test_shared_images_are_counted_once_whatever_their_questions() -> None:
    rows = release().splits
    assert overlap("a", rows["train"], "b", rows["test"]) == Overlap("a", "b", 2, 3)
    assert overlap("b", rows["test"][2:], "a", rows["train"]) == Overlap("b", "a", 0, 20)


def test_protocol_labels_say_which_answers_were_visible() -> None:
    assert protocol_label("clean", "test", "train") == "clean"
    visible = protocol_label("literature", "test", "train + validation + test")
    assert visible == "literature (test answers visible)"
    visible = protocol_label("literature", "validation", "train + validation")
    assert visible == "literature (validation answers visible)"
    unseen = protocol_label("literature", "test", "train + validation")
    assert unseen == "literature (candidates from train + validation)"


def test_rows_that_share_an_image_or_a_group_are_linked() -> None:
    rows = [
        ("1", ["a", "b"], ""),
        ("2", ["c"], ""),
        ("3", ["b"], "p"),
        ("4", ["d"], "p"),
        ("q", ["e"], "q"),
        ("6", ["p"], ""),  # an image is no group of the same name
    ]
    assert linked_groups(rows) == ["1", "", "1", "1", "", ""]
