"""The answering task: what it is trained on, how it answers, and what its options change."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch

from amif_lightning.batch import AnswerSpace, VQABatch, pad_tokens
from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom

SMALL: dict[str, Any] = {
    "vision": "conv",
    "vision_pretrained": None,
    "text": "small",
    "text_layers": 1,
    "image_size": 32,
    "width": 32,
    "heads": 2,
    "fusion_layers": 1,
    "dropout": 0.0,
    "attention": "eager",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return Phantom(
        str(tmp_path_factory.mktemp("vqa") / "phantom"),
        train_studies=24,
        validation_studies=8,
        test_studies=8,
        image_size=32,
        tokenizer="words",
        augmentation="none",
        batch_size=6,
        eval_batch_size=6,
        questions_per_image=2,
        num_workers=0,
    )


def _trainer(data: Phantom, **more: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=data.root,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )


def _ready(data: Phantom, **options: Any) -> AMiFVQA:
    """A task with the data's answer space, in evaluation mode."""
    torch.manual_seed(0)
    task = AMiFVQA(**(SMALL | options))
    _trainer(data, limit_val_batches=1).validate(task, datamodule=data, verbose=False)
    return task.eval()


@pytest.fixture(scope="module")
def task(data: Phantom) -> AMiFVQA:
    return _ready(data)


@pytest.fixture(scope="module")
def batch(task: AMiFVQA, data: Phantom) -> VQABatch:
    loaded: VQABatch = next(iter(data.test_dataloader()[0]))
    return loaded


def _space(task: AMiFVQA) -> AnswerSpace:
    assert task.space is not None
    return task.space


def _likelihoods(task: AMiFVQA, batch: VQABatch) -> torch.Tensor:
    """(B, N) every candidate for every question, each scored by itself as in training."""
    space = _space(task)
    columns = []
    with torch.no_grad():
        fused = task(batch)
        for ids in space.candidate_ids:
            answer = pad_tokens([[space.cls_id, *ids, space.sep_id]] * len(batch), space.pad_id)
            asked = VQABatch(batch.images, batch.image_index, batch.question, answer, batch.strata)
            columns.append(task.answer_log_likelihood(fused, asked))
    return torch.stack(columns, 1)


def test_it_answers_with_the_most_likely_candidate(task: AMiFVQA, batch: VQABatch) -> None:
    every = _likelihoods(task, batch)
    with torch.no_grad():
        given = task.answer(task(batch), batch)
    best, index = every.max(1)
    assert [answer for answer, _ in given] == [_space(task).candidates[i] for i in index.tolist()]
    torch.testing.assert_close(torch.tensor([v for _, v in given]), best, rtol=1e-4, atol=1e-4)


def test_closed_questions_can_be_restricted_to_yes_and_no(
    data: Phantom, task: AMiFVQA, batch: VQABatch
) -> None:
    restricted = _ready(data, restrict_closed=True)
    restricted.load_state_dict(task.state_dict())
    every = _likelihoods(task, batch)
    candidates = _space(task).candidates
    yes, no = candidates.index("yes"), candidates.index("no")
    closed = batch.strata[:, task.strata.index("closed/field")].tolist()
    assert any(closed)
    assert not all(closed)
    with torch.no_grad():
        given = restricted.answer(restricted(batch), batch)
        free = task.answer(task(batch), batch)
    for row, is_closed in enumerate(closed):
        if is_closed:
            assert given[row][0] == ("yes" if every[row, yes] > every[row, no] else "no")
            assert given[row][1] == pytest.approx(float(every[row, [yes, no]].max()), rel=1e-4)
        else:
            assert given[row][0] == free[row][0]


def test_restricting_needs_a_release_that_marks_closed_questions(
    data: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(data.__dict__, "strata", ("overall", "open/answer"))
    with pytest.raises(UserError, match="restrict_closed needs a release that marks closed"):
        _ready(data, restrict_closed=True)


def test_generated_answers_carry_their_own_likelihood(data: Phantom, batch: VQABatch) -> None:
    task = _ready(data, answer_by="generate", beams=2)
    with torch.no_grad():
        fused = task(batch)
        given = task.answer(fused, batch)
        sequences = [[5, 6], [7]] + [[8]] * (len(batch) - 2)
        scored = task._likelihood_of(sequences, fused)
        alone = task._likelihood_of([[7]] * len(batch), fused)
    assert len(given) == len(batch)
    assert all(value < 0 for _, value in given)
    # Padding beside a longer answer changes nothing.
    assert scored[1] == pytest.approx(alone[1], rel=1e-5)


def test_without_knowledge_there_is_no_gate(data: Phantom, batch: VQABatch) -> None:
    task = _ready(data, knowledge=False)
    assert not [name for name in task.state_dict() if name.startswith("knowledge")]
    with torch.no_grad():
        assert task(batch).reading is None


def test_the_answer_depends_on_picture_question_and_knowledge(
    task: AMiFVQA, batch: VQABatch
) -> None:
    with torch.no_grad():
        plain = task(batch).states
        images = VQABatch(
            batch.images.flip(0), batch.image_index, batch.question, batch.answer, batch.strata
        )
        assert not torch.allclose(task(images).states, plain)
        ids = batch.question.ids.clone()
        ids[:, 1] = 9
        question = type(batch.question)(ids, batch.question.mask)
        asked = VQABatch(batch.images, batch.image_index, question, batch.answer, batch.strata)
        assert not torch.allclose(task(asked).states, plain)
        assert task.knowledge is not None
        task.knowledge.gate.bias.data -= 50
        closed = task(batch).states
        task.knowledge.gate.bias.data += 50
    assert not torch.allclose(closed, plain)


def test_the_training_loss_is_the_mean_over_questions(data: Phantom, task: AMiFVQA) -> None:
    kept: list[tuple[VQABatch, float]] = []

    class Keep(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, module: L.LightningModule, out: Any, batch: Any, i: int
        ) -> None:
            kept.append((batch, float(out["loss"])))

    torch.manual_seed(0)
    still = AMiFVQA(**SMALL, label_smoothing=0.0, lr=1e-12, least_lr=0.0)
    still.load_state_dict(task.state_dict())
    trainer = _trainer(data, max_steps=1, limit_val_batches=0, callbacks=[Keep()])
    still.vision.register_forward_pre_hook(lambda module, _: module.eval() and None)
    trainer.fit(still, datamodule=data)
    (batch, loss), still = kept[0], still.eval()
    assert len(batch) > len(batch.images)
    with torch.no_grad():
        values = still.answer_log_likelihood(still(batch), batch)
    assert loss == pytest.approx(-float(values.mean()), rel=1e-4)
    smooth = still.answer_log_likelihood(still(batch), batch, 0.1)
    assert not torch.allclose(smooth, values)


def test_the_control_is_counted_by_itself(data: Phantom, task: AMiFVQA) -> None:
    trainer = _trainer(data)
    trainer.test(task, datamodule=data, verbose=False)
    scores = trainer.callback_metrics
    assert {"test/overall", "control/overall"} <= set(scores)
    loaders = data.test_dataloader()
    right = []
    for loader in loaders:
        answered = [p.correct for b in loader for p in task.eval().predict_step(b, 0)]
        assert len(answered) == len(data.partition.test)
        right.append(sum(answered) / len(answered))
    assert float(scores["test/overall"]) == pytest.approx(right[0])
    assert float(scores["control/overall"]) == pytest.approx(right[1])


def test_the_control_shows_other_pictures(data: Phantom) -> None:
    own, other = data.test_dataloader()
    of = {row.question_id: row.image_id for row in data.partition.test}
    assert all(
        of[q] == image for b in own for q, image in zip(b.question_ids, b.image_ids, strict=True)
    )
    assert all(
        of[q] != image for b in other for q, image in zip(b.question_ids, b.image_ids, strict=True)
    )


def test_a_candidate_longer_than_the_decoder_is_one_sentence(task: AMiFVQA) -> None:
    state = _space(task).state()
    state["candidate_ids"] = (tuple(range(5, 5 + 64)), *state["candidate_ids"][1:])
    with pytest.raises(UserError, match=r"lower --data\.init_args\.max_answer_tokens to 64"):
        AMiFVQA(**SMALL)._use_space(AnswerSpace.from_state(state))


def test_widths_that_cannot_share_weights_are_one_sentence() -> None:
    with pytest.raises(UserError, match="width must be a multiple of the heads"):
        AMiFVQA(**(SMALL | {"heads": 3}))
