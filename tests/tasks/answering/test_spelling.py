"""Generated tokens become the known answer that they spell."""

from __future__ import annotations

import pytest

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.tasks.answering.decoding import Spelling

# Two candidates of equal tokens; a sign that no text of the tokenizer has; one that is cut below.
CANDIDATES = ("mr/t2", "mr / t2", "left lung", "5 µ", "left lower lobe of the lung")
CUT = 4


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.from_texts([*(c for c in CANDIDATES if "µ" not in c), "x-ray", "5", "m/r"])


@pytest.fixture(scope="module")
def spelling(words: Tokenizer) -> Spelling:
    return Spelling(
        AnswerSpace(
            protocol="clean",
            candidates=CANDIDATES,
            candidate_ids=tuple(tuple(words.pieces(c)[:CUT]) for c in CANDIDATES),
            vocabulary=("lung",),
            vocabulary_ids=(tuple(words.pieces("lung")),),
            tokenizer=words.to_json(),
            cls_id=words.cls_id,
            sep_id=words.sep_id,
            pad_id=words.pad_id,
            table_size=words.table_size,
        )
    )


@pytest.mark.parametrize("text", ["mr/t2", "left lung", "5 µ", "left lower lobe of the lung"])
def test_a_candidate_is_written_as_it_stands_in_the_list(
    spelling: Spelling, words: Tokenizer, text: str
) -> None:
    ids = words.pieces(text)[:CUT]
    assert words.decode(ids) != text or text == "left lung"
    assert spelling.of(ids) == text


def test_of_candidates_of_equal_tokens_the_first_is_given(
    spelling: Spelling, words: Tokenizer
) -> None:
    assert words.pieces("mr / t2") == words.pieces("mr/t2")
    assert spelling.of(words.pieces("mr / t2")) == "mr/t2"


def test_a_reference_of_equal_tokens_gives_its_spelling(
    spelling: Spelling, words: Tokenizer
) -> None:
    assert spelling.of(words.pieces("x-ray")) == "x - ray"
    assert spelling.of(words.pieces("x-ray"), ["left lung", "x-ray"]) == "x-ray"
    # It comes before a candidate, which would be spelled otherwise and count as wrong.
    assert spelling.of(words.pieces("mr/t2"), ["mr/ t2"]) == "mr/ t2"
    assert spelling.of(words.pieces("left lung"), ["right lung"]) == "left lung"


def test_other_pieces_of_the_same_word_are_the_same_answer(
    spelling: Spelling, words: Tokenizer
) -> None:
    usual = words.pieces("mr/t2")
    other = [words.pieces("m")[0], _continued(words, "r"), *usual[1:]]
    assert other != usual
    assert words.decode(other) == words.decode(usual) == "mr / t2"
    assert spelling.of(other) == "mr/t2"
    x_ray = [*words.pieces("x-"), words.pieces("r")[0], *(_continued(words, c) for c in "ay")]
    assert spelling.of(x_ray, ["x-ray"]) == "x-ray"


def test_an_unknown_sign_is_not_left_out(spelling: Spelling, words: Tokenizer) -> None:
    ids = words.pieces("5 µ")
    assert words.decode(ids) == "5"
    assert spelling.of(ids, ["5"]) == "5 µ"
    assert spelling.of(ids, ["5 µ"]) == "5 µ"


def test_specials_in_a_text_are_text(spelling: Spelling, words: Tokenizer) -> None:
    # Read as the special token, the reference would only be "lung".
    assert spelling.of(words.pieces("lung"), ["lung [SEP]"]) == "lung"
    ids = words.pieces("lung [SEP]")
    assert words.sep_id not in ids
    assert spelling.of(ids) == "lung [ sep ]"
    assert spelling.of(ids, ["lung [SEP]"]) == "lung [SEP]"


def test_nothing_is_no_reference(spelling: Spelling, words: Tokenizer) -> None:
    """A reference without tokens, such as a lone accent, is not what an empty answer means."""
    lone = "\u0301"
    assert words.pieces(lone) == []
    assert spelling.of([], [lone]) == ""
    assert spelling.of([words.pad_id, words.cls_id], [lone]) == ""


def _continued(words: Tokenizer, letter: str) -> int:
    """Id of a letter inside a word."""
    pieces = words.pieces("zz" + letter)
    assert len(pieces) == 3
    return pieces[-1]
