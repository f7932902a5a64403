from __future__ import annotations

import pytest

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.answers import (
    candidates,
    is_correct,
    list_references,
    med_2019_references,
    vocabulary,
)
from amif_lightning.data.schema.questions import SplitName, VQAExample


def row(answer: str, split: SplitName = "train", references: tuple[str, ...] = ()) -> VQAExample:
    return VQAExample(
        question_id=f"X/{split}/{answer}",
        qid="",
        split=split,
        image_key="i",
        image="i.jpg",
        question="what?",
        answer=answer,
        references=references or (normalise(answer),),
    )


def test_candidates_are_distinct_after_normalisation_and_ordered() -> None:
    rows = [row(a) for a in ("CT", "Yes", "yes.", "mri", "YES", "MRI", "left")]
    assert candidates(rows) == ["yes", "mri", "ct", "left"]


def test_candidates_take_all_references_of_test_rows_only() -> None:
    references = ("mr t2", "mri")
    assert candidates([row("x", "test", references)]) == ["mr t2", "mri"]
    assert candidates([row("x", "train", references)]) == ["mr t2"]


def test_vocabulary_keeps_words_that_are_part_of_longer_words() -> None:
    # Testing substrings of one long string, as the reference implementation does, loses 'no',
    # 'art' and 'in' here.
    rows = [row("node"), row("heart"), row("brain"), row("no"), row("art"), row("in")]
    assert set(vocabulary(rows, "words", 100)) == {"node", "heart", "brain", "no", "art", "in"}


def test_vocabulary_words_by_frequency_then_alphabet() -> None:
    rows = [row("right lung"), row("left lung"), row("right lobe")]
    assert vocabulary(rows, "words", 100) == ["lung", "right", "left", "lobe"]
    assert vocabulary(rows, "words", 3) == ["lung", "right", "left"]


def test_vocabulary_of_whole_answers() -> None:
    rows = [row("left lung"), row("no"), row("No")]
    assert vocabulary(rows, "answers", 1) == ["no"]
    assert vocabulary(rows, "answers", 9) == ["no", "left lung"]


def test_is_correct_compares_normalised_text_with_every_reference() -> None:
    asked = row("X-ray", "test", ("xray", "plain film"))
    assert is_correct("  X Ray. ", asked)
    assert is_correct("Plain film", asked)
    assert not is_correct("plain", asked)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        # The reference implementation glues these into 'mr t2 weightedmri' (its eighth mistake).
        ("mr - t2 weighted#mri", ("mr t2 weighted", "mri")),
        ("aneurysm (of the aorta)", ("aneurysm of the aorta", "aneurysm")),
        ("ct (iv) contrast#ct", ("ct iv contrast", "ct contrast", "ct")),
        ("a (b) c (d)", ("a b c d", "a b c", "a c d", "a c")),
        ("Yes", ("yes",)),
        ("yes#YES", ("yes",)),
        ("cyst#", ("cyst",)),
        ("(optional)#x", ("optional", "x")),
        ("unclosed (part", ("unclosed part",)),
        ("?", ()),
    ],
)
def test_med_2019_references(answer: str, expected: tuple[str, ...]) -> None:
    assert med_2019_references(answer) == expected


@pytest.mark.parametrize(
    ("answer", "references"),
    [
        ("Mass", ("mass",)),
        (" , ", ()),
        ("b， a", ("a b", "b a")),
        ("b,a", ("a b", "b a", "ba")),
        ("a, a", ("a a",)),
        ("f, e, d, c, b, a", ("a b c d e f", "f e d c b a")),
    ],
)
def test_references_in_any_order(answer: str, references: tuple[str, ...]) -> None:
    assert list_references(answer, "any_order") == references
