"""Words are put together from their pieces, and the telling ones are chosen."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer as FastTokenizer

from amif_lightning.models.words import Word, informative, proper, words_of
from data_modules.tokenizer import Tokenizer

TABLE = Tokenizer.from_texts(["a nodule lies in the left lung . no effusion"])
FAST = FastTokenizer.from_str(TABLE.to_json())


def read(text: str, limit: int = 60) -> list[Word]:
    """Words of a text that is padded by three."""
    ids = torch.tensor(TABLE.encode(text, limit))
    mask = torch.tensor([True] * len(ids) + [False] * 3)
    padded = torch.cat([ids, torch.full((3,), TABLE.pad_id)])
    return words_of(padded, mask, FAST)


def test_pieces_make_words_again() -> None:
    found = read("A nodule lies in the Lingula, 3 mm.")
    assert [word.text for word in found] == [
        "a", "nodule", "lies", "in", "the", "lingula", ",", "3", "mm", "."
    ]  # fmt: skip
    # Column 0 is [CLS]; lingula is no word of the table and comes letter by letter.
    assert found[0].places == (1,)
    assert found[5].places == tuple(range(6, 13))
    ids = TABLE.encode("A nodule lies in the Lingula, 3 mm.", 60)
    places = [place for word in found for place in word.places]
    assert places == list(range(1, len(ids) - 1))  # every token but [CLS] and [SEP], once


def test_an_empty_text_has_no_words() -> None:
    assert read("") == []


def test_a_cut_text_keeps_what_is_left() -> None:
    assert [word.text for word in read("a nodule lies in the lung", 4)] == ["a", "nodule"]


def test_punctuation_numbers_and_stop_words_say_nothing() -> None:
    found = proper(read("No nodule is seen in the left lung, 12 mm; \u4e2d!"))
    assert [word.text for word in found] == ["nodule", "left", "lung", "mm"]


def test_the_longest_different_words_are_chosen_in_the_order_of_the_text() -> None:
    words = [Word(text, (place,)) for place, text in enumerate(
        ["nodule", "lung", "effusion", "Nodule", "left", "effusion", "right", "."]
    )]  # fmt: skip
    assert informative(words, 3) == [words[0], words[2], words[6]]
    assert informative(words, 1) == [words[2]]
    assert [word.text for word in informative(words, 99)] == [
        "nodule", "lung", "effusion", "left", "right"
    ]  # fmt: skip
