"""Words are joined from their pieces, and informative ones are selected."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import WordLevel

from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.models.words import (
    Word,
    affirmed,
    denial_ids,
    informative,
    inner_words,
    proper,
    words_of,
)

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


def test_an_empty_text_has_no_words_and_a_truncated_one_its_first() -> None:
    assert read("") == []
    assert [word.text for word in read("a nodule lies in the lung", 4)] == ["a", "nodule"]


def test_punctuation_numbers_and_stop_words_are_left_out() -> None:
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


# ---- what is denied ---------------------------------------------------------------------------

TABLE_OF_DENIALS = Tokenizer.from_texts(
    ["heart is large mass . ; ! ? no not nodule without fluid , seen"]
)


def affirming(*texts: str) -> list[list[str]]:
    """Pieces of affirming sentences, by text of a padded batch."""
    fast = FastTokenizer.from_str(TABLE_OF_DENIALS.to_json())
    rows = [TABLE_OF_DENIALS.encode(text, 60) for text in texts]
    width = max(map(len, rows)) + 2
    ids = torch.tensor([row + [TABLE_OF_DENIALS.pad_id] * (width - len(row)) for row in rows])
    flags_of = affirmed(ids, *denial_ids(fast))
    assert flags_of.shape == ids.shape
    return [
        [str(fast.id_to_token(number)) for number, kept in zip(row, flags, strict=False) if kept]
        for row, flags in zip(rows, flags_of.tolist(), strict=True)
    ]


def test_a_sentence_with_a_denial_is_left_out_whole_with_its_end() -> None:
    assert affirming("heart is large . mass not seen . nodule seen .") == [
        ["[CLS]", "heart", "is", "large", ".", "nodule", "seen", ".", "[SEP]"]
    ]


def test_every_end_ends_a_sentence_and_a_comma_does_not() -> None:
    for end in ".;!?":
        (found,) = affirming(f"no mass {end} heart is large")
        assert found == ["heart", "is", "large", "[SEP]"]  # [CLS] is part of the denied one
    (found,) = affirming("heart is large , no mass . nodule")
    assert found == ["nodule", "[SEP]"]


def test_texts_of_a_batch_are_read_apart() -> None:
    texts = ("no mass .", "mass .", "mass", "fluid . without nodule")
    together = affirming(*texts)
    assert together == [affirming(text)[0] for text in texts]
    assert together[0] == ["[SEP]"]
    assert together[3] == ["[CLS]", "fluid", "."]


def test_denials_are_known_in_any_case() -> None:
    cased = FastTokenizer(WordLevel({"[UNK]": 0, "no": 1, "No": 2, "NO": 3, ".": 4, "mass": 5}))
    ends, denials = denial_ids(cased)
    assert ends == [4]
    assert sorted(denials) == [1, 2, 3]
    for denial in denials:
        assert not affirmed(torch.tensor([[5, denial, 5]]), ends, denials).any()
    # A table that knows neither leaves all words.
    assert affirmed(torch.tensor([[5, 5]]), [], []).all()


def test_words_are_what_lies_between_begin_and_end() -> None:
    lengths = torch.tensor([6, 4, 3, 2])  # [CLS] words [SEP]; the last text is empty
    mask = torch.arange(6) < lengths[:, None]
    assert inner_words(mask).tolist() == [
        [False, True, True, True, True, False],
        [False, True, True, False, False, False],
        [False, True, False, False, False, False],
        [False] * 6,
    ]
    assert int(mask.sum()) == 15  # the given mask is left as it is
    assert not inner_words(torch.zeros(2, 3, dtype=torch.bool)).any()
