"""The fixed table has one size, the same texts give the same order, and no text breaks it."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

from amif_lightning.data.preprocessing.tokenizer import (
    SPECIALS,
    TABLE_SIZE,
    Tokenizer,
    corpus_texts,
)
from amif_lightning.errors import UserError

TEXTS = [
    "Is there a nodule in the left lung?",
    "Is the heart enlarged?",
    "left lower lobe",
    "the t2-weighted image",
    "Überweisung: naïve café, 12 μm",
]


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer.from_texts(TEXTS)


def entries(tokenizer: Tokenizer) -> dict[str, int]:
    table: dict[str, int] = json.loads(tokenizer.to_json())["model"]["vocab"]
    return table


@pytest.mark.parametrize(
    "texts",
    [[], TEXTS, [f"word{i} other{i}" for i in range(5000)]],
    ids=["none", "few", "more than fit"],
)
def test_the_table_always_has_4096_slots(texts: list[str]) -> None:
    tokenizer = Tokenizer.from_texts(texts)
    table = entries(tokenizer)
    assert tokenizer.table_size == TABLE_SIZE == 4096
    assert sorted(table.values()) == list(range(4096))
    assert [entry for entry, slot in table.items() if slot < 5] == list(SPECIALS)


def test_frequent_words_come_first_and_ties_in_alphabetical_order() -> None:
    # 94 - 26 printable ASCII characters, each also as a continuation, precede the words.
    table = entries(Tokenizer.from_texts(["ccc bbb aaa", "bbb ddd"]))
    first = 5 + 2 * 68
    by_slot = {slot: entry for entry, slot in table.items()}
    assert [by_slot[first + i] for i in range(5)] == ["bbb", "aaa", "ccc", "ddd", "[unused145]"]


def test_the_order_of_the_texts_does_not_matter(words: Tokenizer) -> None:
    shuffled = TEXTS.copy()
    for seed in range(3):
        random.Random(seed).shuffle(shuffled)
        assert Tokenizer.from_texts(shuffled).to_json() == words.to_json()


def test_the_table_is_the_same_in_every_process(words: Tokenizer) -> None:
    code = (
        "import json, sys; from amif_lightning.data.preprocessing.tokenizer import Tokenizer;"
        "sys.stdout.write(Tokenizer.from_texts(json.loads(sys.argv[1])).to_json())"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(TEXTS)],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == words.to_json()


def test_round_trip_through_json(words: Tokenizer) -> None:
    again = Tokenizer.from_json(words.to_json())
    assert again.to_json() == words.to_json()
    for text in [*TEXTS, "unseen wording: 3/4 (left)"]:
        assert again.pieces(text) == words.pieces(text)
    assert (again.pad_id, again.cls_id, again.sep_id) == (0, 2, 3)


def test_known_words_are_one_piece_and_others_are_spelled(words: Tokenizer) -> None:
    table = entries(words)
    assert words.pieces("LEFT lung") == [table["left"], table["lung"]]
    assert words.decode(words.encode("Left LUNG", 10)) == "left lung"
    assert words.pieces("zqx") == [table["z"], table["##q"], table["##x"]]
    assert words.decode(words.pieces("zqx")) == "zqx"


@pytest.mark.parametrize("text", ["☃", "left ☃", "肺", "a" * 300, "\u0301", "\u200b", "\x00", "\t"])
def test_unknown_characters_do_not_crash(words: Tokenizer, text: str) -> None:
    ids = words.encode(text, 30)
    assert ids[0] == words.cls_id
    assert ids[-1] == words.sep_id
    assert all(0 <= slot < TABLE_SIZE for slot in ids)
    if "☃" in text:
        assert 1 in ids  # [UNK], not silently nothing


def test_a_text_that_spells_a_special_is_text(words: Tokenizer) -> None:
    # As an id, an end token inside an answer would end the answer there.
    # Workers that are started by spawn receive a pickled tokenizer.
    pickled = pickle.loads(pickle.dumps(words))
    assert pickled.to_json() == words.to_json()
    for tokenizer in (words, Tokenizer.from_json(words.to_json()), pickled):
        assert not set(tokenizer.pieces("see [SEP] and [PAD] [CLS]")) & {0, 2, 3}


@pytest.mark.parametrize("limit", [2, 3, 5, 6, 7, 50])
def test_the_limit_cuts_words_and_keeps_the_end(words: Tokenizer, limit: int) -> None:
    text = "left lower lobe left lung"  # five words, seven ids
    ids = words.encode(text, limit)
    assert len(ids) == min(limit, 7)
    assert ids[0] == words.cls_id
    assert ids[-1] == words.sep_id
    assert ids[1:-1] == words.pieces(text)[: limit - 2]
    assert words.fits(text, limit) == (limit >= 7)


def test_too_many_characters_is_one_sentence() -> None:
    texts = ["".join(chr(0x4E00 + i) for i in range(2500))]
    with pytest.raises(UserError, match=r"different characters.*4096 slots.*tokenizer_corpora"):
        Tokenizer.from_texts(texts)


def write_bert(folder: Path, vocabulary: list[str] | None) -> str:
    """A BERT folder as the hub ships it: config.json and vocab.txt."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    if vocabulary is not None:
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return str(folder)


def test_a_bert_folder(tmp_path: Path) -> None:
    name = write_bert(tmp_path / "bert", [*SPECIALS, "left", "lung", "##s"])
    tokenizer = Tokenizer.from_pretrained(name)
    assert tokenizer.table_size == 8
    assert tokenizer.encode("Left lungs", 10) == [2, 5, 6, 7, 3]
    assert tokenizer.decode([2, 5, 6, 7, 3]) == "left lungs"
    assert Tokenizer.from_json(tokenizer.to_json()).encode("Left lungs", 10) == [2, 5, 6, 7, 3]


def test_a_saved_fast_tokenizer_with_truncation(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    name = write_bert(tmp_path / "bert", [*SPECIALS, "left", "lung", "##s"])
    loaded = AutoTokenizer.from_pretrained(name)
    loaded("left lung", truncation=True, max_length=3)  # leaves truncation on in the backend
    loaded.save_pretrained(tmp_path / "saved")
    tokenizer = Tokenizer.from_pretrained(str(tmp_path / "saved"))
    assert tokenizer.pieces("left lung left lung") == [5, 6, 5, 6]


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no/such/folder", "/no/such/folder"])
def test_an_unreachable_name_is_one_sentence_with_the_way_out(name: str) -> None:
    with pytest.raises(UserError, match=r"could not be loaded.*minilm or words") as caught:
        Tokenizer.from_pretrained(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    # Without a vocabulary transformers loads five specials: every word would be [UNK].
    [(False, r"has no words.*vocab\.txt"), (True, "could not be loaded")],
)
def test_a_folder_without_a_vocabulary_is_refused(
    tmp_path: Path, broken: bool, sentence: str
) -> None:
    name = write_bert(tmp_path / "bert", None)
    if broken:
        (tmp_path / "bert" / "tokenizer.json").write_text("{ broken")
    with pytest.raises(UserError, match=sentence):
        Tokenizer.from_pretrained(name)


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    from tokenizers import Tokenizer as FastTokenizer
    from tokenizers import models

    fast = FastTokenizer(models.WordLevel({"<s>": 0, "[PAD]": 1}, unk_token="<s>"))
    with pytest.raises(UserError, match=r"has no \[CLS\], \[SEP\]: give .*BERT-like"):
        Tokenizer(fast)


def test_corpora_join_own_texts_and_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "reports.txt").write_text("erste Zeile\nzweite\n", encoding="utf-8")
    texts = corpus_texts(["train", str(tmp_path / "reports.txt")], ["own"])
    assert texts == ["own", "erste Zeile", "zweite"]
    assert corpus_texts([str(tmp_path / "reports.txt")], ["own"]) == ["erste Zeile", "zweite"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.txt", "which is not a file"),
        (".", "which is not a file"),
        ("latin.txt", "not UTF-8 text"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_named(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "latin.txt").write_bytes("Röntgen".encode("latin-1"))
    with pytest.raises(UserError, match=sentence) as caught:
        corpus_texts(["train", str(tmp_path / name)], ["own"])
    assert str(tmp_path / name) in str(caught.value)


def test_a_text_that_is_no_tokenizer_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^The checkpoint's tokenizer cannot be read \(EOF"):
        Tokenizer.from_json("{")
