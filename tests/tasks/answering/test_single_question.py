"""A question asked of a checkpoint gets the answer that a test run gives it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.single_question import Asked, ask, inputs_of
from tests.inference.conftest import Saved
from tests.small import SMALL, trainer


@pytest.fixture(scope="module")
def image(saved: Saved) -> Path:
    return saved.data.file_of(saved.data.splits.test[0])


def test_answers_equal_those_of_a_test_run(saved: Saved, restored: AMiFVQA, tmp_path: Path) -> None:
    rows = {row.question_id: row for row in saved.data.splits.test}
    assert any(len(saved.data.tokenizer.pieces(row.question)) > 8 for row in rows.values())
    batches = trainer(tmp_path).predict(restored, datamodule=saved.data)
    assert batches is not None
    predictions = [one for batch in batches for one in batch]
    assert len(predictions) == len(rows)
    asked = [rows[p.question_id] for p in predictions]
    answers = ask(restored, [Asked(saved.data.file_of(row), row.question) for row in asked])
    for prediction, answered in zip(predictions, answers, strict=True):
        best = answered.answers[0]
        assert best.answer == prediction.answer
        assert best.probability == pytest.approx(math.exp(prediction.log_likelihood), rel=1e-4)


def test_the_task_itself_answers(restored: AMiFVQA, image: Path) -> None:
    by_path = restored.answer(image, "is there a nodule?", 3)
    assert len(by_path) == 3
    assert by_path == restored.answer(str(image), "is there a nodule?", 3)
    with Image.open(image) as opened:
        assert by_path == restored.answer(opened, "is  there a\tnodule?", 3)
    shares = [one.probability for one in by_path]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1


def test_a_task_in_training_keeps_its_mode(saved: Saved, image: Path) -> None:
    restored = AMiFVQA.load_from_checkpoint(saved.path, map_location="cpu").train()
    before = {name: tensor.clone() for name, tensor in restored.state_dict().items()}
    first, second = (restored.answer(image, "is there a nodule?") for _ in range(2))
    assert first == second
    assert restored.training
    assert restored.decoder.training
    after = restored.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # batch norm included


def test_more_answers_than_candidates_are_all_of_them(restored: AMiFVQA, image: Path) -> None:
    assert restored.space is not None
    answers = restored.answer(image, "is there a nodule?", 10**6)
    assert sorted(one.answer for one in answers) == sorted(restored.space.candidates)


def test_all_candidates_are_ranked_although_closed_questions_are_restricted(
    saved: Saved, restored: AMiFVQA, image: Path
) -> None:
    strict = AMiFVQA.load_from_checkpoint(saved.path, map_location="cpu", restrict_closed=True)
    question = "which side is it on?"
    assert strict.answer(image, question) == restored.answer(image, question)


def test_generation_gives_one_answer(saved: Saved, image: Path) -> None:
    restored = AMiFVQA.load_from_checkpoint(saved.path, map_location="cpu", answer_by="generate")
    (one,) = restored.answer(image, "is there a nodule?")
    assert 0 <= one.probability <= 1


def test_a_length_penalty_changes_the_order_and_not_the_probabilities(
    saved: Saved, restored: AMiFVQA, image: Path
) -> None:
    plain = dict(restored.answer(image, "is there a nodule?", 10**6))
    penal = AMiFVQA.load_from_checkpoint(saved.path, map_location="cpu", length_penalty=2.0)
    answers = penal.answer(image, "is there a nodule?", 10**6)
    assert [one.answer for one in answers] != list(plain)
    for one in answers:
        assert one.probability == pytest.approx(plain[one.answer], rel=1e-3)


def test_equal_images_are_read_once(restored: AMiFVQA, image: Path) -> None:
    asked = [Asked(image, "one?"), Asked(str(image), "and two?"), Asked(image, "three?", None)]
    inputs = inputs_of(restored, asked)
    assert len(inputs.images) == 1
    assert inputs.image_index.tolist() == [0, 0, 0]


def test_what_is_not_read_of_a_question_is_counted(restored: AMiFVQA, image: Path) -> None:
    long, foreign, plain = ask(
        restored,
        [
            Asked(image, "is " * 30),
            Asked(image, "结节 nodule?"),
            Asked(image, "is there a nodule?"),
        ],
    )
    assert (long.cut, long.unknown) == (30 - 8, 0)  # 10 tokens, [CLS] and [SEP] among them
    assert foreign.unknown == 2  # a word each, as BERT splits Chinese
    assert (plain.cut, plain.unknown) == (0, 0)


def test_an_unknown_limit_is_that_of_the_text_encoder(restored: AMiFVQA, image: Path) -> None:
    known = restored.space
    assert known is not None
    restored.space = replace(known, question_tokens=0)
    try:
        (answered,) = ask(restored, [Asked(image, "is " * 130)])
    finally:
        restored.space = known
    assert answered.cut == 130 + 2 - 128


@pytest.mark.parametrize("question", ["", " \t\n", "\x00\x07"])
def test_an_empty_question_is_one_sentence(restored: AMiFVQA, image: Path, question: str) -> None:
    with pytest.raises(UserError, match="The question is empty"):
        restored.answer(image, question)


def test_no_answers_wanted_is_one_sentence(restored: AMiFVQA, image: Path) -> None:
    with pytest.raises(UserError, match="0 answers are asked for"):
        restored.answer(image, "is there a nodule?", 0)


def test_a_task_without_answers_is_one_sentence(image: Path) -> None:
    with pytest.raises(UserError, match="no candidate answers"):
        AMiFVQA(**SMALL).answer(image, "is there a nodule?")
