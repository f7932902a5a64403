"""Which texts are cut, and which candidates that merges."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.schema.questions import Release
from amif_lightning.errors import UserError
from tests.data.tiny_release import Tiny, with_answers
from tests.data.tiny_studies import TinyStudies, tiny_studies


def cut(data: Tiny) -> list[str]:
    """The sentences of the audit on cut texts."""
    return [note for note in data.audit(check_images=False).notes if "tokens" in note]


def test_cut_questions_and_answers_are_counted_by_the_audit(root: Path, release: Release) -> None:
    # "Is finding 0 seen ?" has five tokens and two specials, "train zone 0" three and two.
    data = Tiny(root, release, max_question_tokens=6, max_answer_tokens=4)
    assert cut(data) == [
        "27 of 27 train questions are cut to 6 tokens",
        "11 of 27 train answers are cut to 4 tokens",
        "16 of 16 validation questions are cut to 6 tokens",
        "7 of 16 validation answers are cut to 4 tokens",
        "16 of 16 test questions are cut to 6 tokens",
        "6 of 16 test answers are cut to 4 tokens",
        "3 of 5 candidate answers are cut to 4 tokens",
        "2 of 5 candidate answers have the tokens of an earlier candidate and can never be "
        "chosen (2 of them through cutting; raise max_answer_tokens for these)",
    ]
    space = data.answer_space()
    assert max(map(len, space.candidate_ids)) == 2
    assert len(set(space.candidate_ids)) == 3


def test_candidates_that_are_equal_without_cutting_are_counted_separately(
    root: Path, release: Release
) -> None:
    # The tokenizer drops accents.
    made = with_answers(release, ["left lobe", "cafe", "café", "left lung a", "left lung b"])
    assert cut(Tiny(root, made, max_answer_tokens=4))[-2:] == [
        "2 of 5 candidate answers are cut to 4 tokens",
        "2 of 5 candidate answers have the tokens of an earlier candidate and can never be "
        "chosen (1 of them through cutting; raise max_answer_tokens for these)",
    ]


def test_texts_that_fit_give_no_sentence(root: Path, release: Release) -> None:
    # "validation" is no training word and is spelled: ten tokens, "zone", a number, two specials.
    assert cut(Tiny(root, release, max_question_tokens=7, max_answer_tokens=14)) == []


def test_a_missing_tokenizer_is_a_note(root: Path, release: Release) -> None:
    data = Tiny(root, release, tokenizer_corpora=["no/such/file.txt"])
    assert any("cut texts are not counted: " in note for note in data.audit().notes)


def test_training_starts_without_tokenising_the_corpus(
    root: Path, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("a text was tokenised")

    for name in ("encode", "pieces", "fits"):
        monkeypatch.setattr(Tokenizer, name, refuse)
    Tiny(root, release, max_question_tokens=6).setup("fit")
    TinyStudies(tmp_path / "studies", tiny_studies(tmp_path / "studies")).setup("fit")
