from __future__ import annotations

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.baselines import (
    ceiling,
    majority_answer,
    question_only,
    same_image_copy,
)
from amif_lightning.data.schema.questions import SplitName, VQAExample


def row(
    question: str, answer: str = "?", image: str = "i", split: SplitName = "train"
) -> VQAExample:
    return VQAExample("X", "", split, image, image, question, answer, (normalise(answer),))


def test_majority_answer_ties_go_to_the_answer_released_first() -> None:
    rows = [row("q", a) for a in ("ct", "no", "yes", "Yes", "NO")]
    assert majority_answer(rows) == "no"


def test_question_only_backs_off_from_question_to_words_to_majority() -> None:
    train = [
        row("Is the heart large?", "yes"),
        row("Is the heart normal?", "no"),
        row("Is the heart small?", "no"),
        row("Is that all?", "maybe"),
        row("Where is it?", "left"),
        row("Which one?", "left"),
        row("What?", "left"),
        row("Why?", "left"),
    ]
    asked = {
        "is the HEART large": "yes",  # the same normalised question, against its three words
        "Is the heart round?": "no",  # the same first three words
        "Is there one?": "no",  # the same first word
        "How many?": "left",  # the majority answer
    }
    assert question_only(train, [row(q) for q in asked]) == list(asked.values())


def test_question_only_ties_go_to_the_answer_released_first() -> None:
    train = [row("a b c d", "second"), row("a b c d", "first")]
    assert (
        question_only(train, [row("a b c d"), row("a b c x"), row("a y"), row("z")])
        == ["second"] * 4
    )
    # Released first as an answer, not as the answer of this question.
    train = [row("z", "b"), row("q", "a"), row("q", "b")]
    assert question_only(train, [row("q")]) == ["a"]


def test_same_image_copy_takes_the_most_similar_question_of_that_image() -> None:
    train = [
        row("is the heart large", "yes", "1"),
        row("where is the lesion", "left", "1"),
        row("where is the lesion located", "right", "2"),
    ]
    asked = [
        row("Where is the lesion located?", image="1"),
        row("Is the heart very large?", image="1"),
        row("Is the heart large?", image="2"),
        row("Is the heart large?", image="3"),
    ]
    assert same_image_copy(train, asked) == ["left", "yes", "right", "no"]


def test_same_image_copy_weighs_the_overlap_by_the_union() -> None:
    # Both share two words with the question; the shorter one is the more similar set.
    train = [row("a b c d e f", "long"), row("a b", "short")]
    assert same_image_copy(train, [row("a b x")]) == ["short"]


def test_same_image_copy_ties_go_to_the_training_question_released_first() -> None:
    train = [row("a b", "first"), row("b a", "second"), row("a b", "third")]
    assert same_image_copy(train, [row("a c"), row("x y"), row("b a")]) == ["first"] * 3


def test_ceiling_accepts_any_reference() -> None:
    asked = [
        VQAExample("X", "", "test", "i", "i", "q", "", ("a", "b")),
        VQAExample("X", "", "test", "i", "i", "q", "", ("c",)),
    ]
    assert ceiling(["b", "d"], asked) == [True, False]
