"""An answer comes with the reasons to distrust it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.doubts import NO_RECORD, OLD, SHOWN, question_doubts
from amif_lightning.tasks.answering.single_question import Asked, ask
from tests.inference.conftest import Saved
from tests.small import space_of


def test_the_words_are_those_of_the_training_questions(saved: Saved, restored: AMiFVQA) -> None:
    parts = saved.data.splits
    for row in parts.train:
        assert question_doubts(space_of(restored), row.question.upper()) == []
    words = space_of(restored).question_words
    assert {"nodule", "there"} <= set(words)
    assert words == tuple(sorted(words))


@pytest.mark.parametrize(
    ("question", "unseen"),
    [
        ("Is there a nodule?", ""),
        ("Is there a NODULE, or a nodul?", '"nodul"'),
        ("Y a-t-il un épanchement ?", '"y", "t", "il", "un", "épanchement"'),
        ("结节 nodule?", '"结节"'),
        (" ".join("abcdefghijkl"), '"b", "c", "d", "e", "f", "g", "h", "i" and 3 more'),
    ],
)
def test_words_never_seen_in_training_are_named(
    saved: Saved, restored: AMiFVQA, question: str, unseen: str
) -> None:
    image = saved.data.file_of(saved.data.splits.train[0])
    (answered,) = ask(restored, [Asked(image, question)])
    expected = [f"Words that no training question contains: {unseen}."] if unseen else []
    assert answered.warnings == [NO_RECORD, *expected]
    assert unseen.count('"') <= 2 * SHOWN


def test_an_old_checkpoint_says_that_nothing_is_noticed(restored: AMiFVQA) -> None:
    state = space_of(restored).state()
    del state["question_words"]
    old = AnswerSpace.from_state(state)
    assert old == replace(space_of(restored), question_words=())
    assert question_doubts(old, "Y a-t-il un nodule ?") == [OLD]
