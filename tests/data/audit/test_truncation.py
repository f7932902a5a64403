"""What is cut, in whose texts, and which candidates it merges."""

from __future__ import annotations

from pathlib import Path

from amif_lightning.data.schema.questions import Release
from tests.data.tiny_release import Tiny, with_answers


def test_cut_questions_and_answers_are_counted_for_the_rows_in_use(
    root: Path, release: Release, printed: list[str]
) -> None:
    # "Is finding 0 seen ?" has five tokens and two specials, "train zone 0" three and two.
    data = Tiny(root, release, max_question_tokens=6, max_answer_tokens=4)
    data.setup("fit")
    assert printed == [
        "Tiny: 27 of 27 train questions are cut to 6 tokens",
        "Tiny: 11 of 27 train answers are cut to 4 tokens",
        "Tiny: 16 of 16 validation questions are cut to 6 tokens",
        "Tiny: 7 of 16 validation answers are cut to 4 tokens",
        "Tiny: 3 of 5 candidate answers are cut to 4 tokens",
        "Tiny: 2 of 5 candidate answers have the tokens of an earlier candidate and can never be "
        "chosen (2 of them through cutting; raise max_answer_tokens for these)",
    ]
    printed.clear()
    data.setup("test")
    assert printed[0] == "Tiny: 16 of 16 test questions are cut to 6 tokens"
    space = data.answer_space()
    assert max(map(len, space.candidate_ids)) == 2
    assert len(set(space.candidate_ids)) == 3


def test_candidates_that_are_equal_without_cutting_are_told_apart_from_cut_ones(
    root: Path, release: Release, printed: list[str]
) -> None:
    # The tokenizer drops accents.
    made = with_answers(release, ["left lobe", "cafe", "café", "left lung a", "left lung b"])
    data = Tiny(root, made, max_answer_tokens=4)
    data.setup("predict")
    assert printed[-2:] == [
        "Tiny: 2 of 5 candidate answers are cut to 4 tokens",
        "Tiny: 2 of 5 candidate answers have the tokens of an earlier candidate and can never be "
        "chosen (1 of them through cutting; raise max_answer_tokens for these)",
    ]


def test_nothing_is_printed_where_all_fits(
    root: Path, release: Release, printed: list[str]
) -> None:
    # "validation" is no training word and is spelled: ten tokens, "zone", a number, two specials.
    Tiny(root, release, max_question_tokens=7, max_answer_tokens=14).setup("fit")
    assert printed == []
