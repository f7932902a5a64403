"""The answering task: what it is trained on, what it logs, and what its options build."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import pytest
import torch

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import VQABatch
from amif_lightning.errors import UserError
from amif_lightning.models.knowledge import DecoderInput
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom
from tests.small import SMALL, ready, slow_likelihood, space_of, trainer

Step = tuple[AMiFVQA, VQABatch, dict[str, float]]


def _with(batch: VQABatch, **changes: Any) -> VQABatch:
    """The tensors of a batch, some of them replaced."""
    names = ("images", "image_index", "question", "answer", "strata")
    return VQABatch(**({name: getattr(batch, name) for name in names} | changes))


def test_the_answer_depends_on_image_question_and_knowledge(task: AMiFVQA, batch: VQABatch) -> None:
    with torch.no_grad():
        plain = task(batch).states
        assert not torch.allclose(task(_with(batch, images=batch.images.flip(0))).states, plain)
        ids = batch.question.ids.clone()
        ids[:, 1] = 9
        question = type(batch.question)(ids, batch.question.mask)
        assert not torch.allclose(task(_with(batch, question=question)).states, plain)
        assert task.knowledge is not None
        assert task.knowledge.gate is not None
        task.knowledge.gate.bias.data -= 50
        closed = task(batch).states
        task.knowledge.gate.bias.data += 50
    assert not torch.allclose(closed, plain)


def test_the_gate_alone_can_be_left_out(data: Phantom, batch: VQABatch) -> None:
    task = ready(data, gate=False)
    names = [name for name in task.state_dict() if name.startswith("knowledge")]
    assert names
    assert not [name for name in names if ".gate." in name]
    with torch.no_grad():
        reading = task(batch).reading
    assert reading is not None
    assert bool((reading.gate == 1).all())


def test_a_missing_answer_space_is_an_error(batch: VQABatch) -> None:
    with pytest.raises(RuntimeError, match="the task has no answer space"):
        AMiFVQA(**SMALL)(batch)
    task = AMiFVQA(**SMALL, knowledge=False).eval()
    with torch.no_grad(), pytest.raises(RuntimeError, match="the task has no answer space"):
        task.answers(task(batch), batch)


@pytest.mark.parametrize(("given", "layers"), [(None, 2), (1, 1), (3, 3)])
def test_the_decoder_has_its_own_number_of_layers(given: int | None, layers: int) -> None:
    task = AMiFVQA(**(SMALL | {"fusion_layers": 2}), decoder_layers=given)
    assert len(task.fusion.text_layers) == 2
    assert len(task.decoder.lm.bert.encoder.layer) == layers


# ---- the losses -------------------------------------------------------------------------------


def _slow(task: AMiFVQA, batch: VQABatch, smoothing: float) -> list[float]:
    """Loss of each question, token by token."""
    with torch.no_grad():
        fused = task(batch)
    tokens = zip(batch.answer.ids, batch.answer.mask, strict=True)
    return [
        -slow_likelihood(task, fused, row, ids[mask][1:].tolist(), smoothing)
        for row, (ids, mask) in enumerate(tokens)
    ]


def _openness(batches: list[DecoderInput]) -> float:
    """The mean over questions of the gate's mean over their tokens, without padding."""
    seen: list[float] = []
    for fused in batches:
        assert fused.reading is not None
        for gate, mask in zip(fused.reading.gate, fused.mask, strict=True):
            own = [float(token.mean()) for token, valid in zip(gate, mask, strict=True) if valid]
            seen.append(sum(own) / len(own))
    return sum(seen) / len(seen)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_smoothing_is_part_of_the_training_loss_alone(
    data: Phantom, plain: Step, smoothing: float
) -> None:
    still, batch, logged = _first_step(data, label_smoothing=smoothing) if smoothing else plain
    assert len(batch) > len(batch.images)
    values = _slow(still, batch, smoothing)
    expected = sum(values) / len(values)
    assert logged["loss"] == pytest.approx(expected, rel=1e-4)
    assert float(logged["train/answer_loss"]) == pytest.approx(expected, rel=1e-4)
    with torch.no_grad():
        fused = still(batch)
        validated = [still(b) for b in data.val_dataloader()]
    assert not fused.mask.all()
    assert float(logged["train/gate_mean"]) == pytest.approx(_openness([fused]), rel=1e-5)
    assert float(logged["val/gate_mean"]) == pytest.approx(_openness(validated), rel=1e-5)

    batches = list(data.val_dataloader())
    assert len({len(b) for b in batches}) > 1  # a mean over batches would weigh questions unequally
    values = [value for b in batches for value in _slow(still, b, 0.0)]
    assert len(values) == len(data.splits.validation)
    assert float(logged["val/answer_loss"]) == pytest.approx(sum(values) / len(values), rel=1e-4)


# ---- the vocabulary ---------------------------------------------------------------------------


def _first_step(data: Phantom, **options: Any) -> Step:
    """A task after one step that keeps the weights, its batch and the logged values.

    In evaluation mode, which `fit` keeps, and at so small a rate nothing changes.
    """
    batches: list[VQABatch] = []

    class Keep(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, module: L.LightningModule, out: Any, batch: Any, i: int
        ) -> None:
            batches.append(batch)
            self.loss = float(out["loss"])

    keep = Keep()
    given = {"max_steps": 1, "val_check_interval": 1, "num_sanity_val_steps": 0}
    task = ready(data, lr=1e-12, min_lr=0.0, **options)
    running = trainer(data.root, callbacks=[keep], **given)
    running.fit(task, datamodule=data)
    logged = {name: float(value) for name, value in running.callback_metrics.items()}
    return task.eval(), batches[0], logged | {"loss": keep.loss}


@pytest.fixture(scope="module")
def plain(data: Phantom) -> Step:
    return _first_step(data)


def _slow_masses(task: AMiFVQA, batch: VQABatch) -> list[float | None]:
    """Attention of each question on the words of its answer, one question at a time."""
    found: list[float | None] = []
    words = space_of(task).vocabulary
    with torch.no_grad():
        log_attention = task(batch).reading.log_attention
    for row, references in zip(log_attention, batch.references, strict=True):
        own = [k for k, word in enumerate(words) if any(word in r.split() for r in references)]
        found.append(float(row[own].exp().sum()) if own else None)
    return found


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_pointer_loss_is_added_with_its_weight(
    data: Phantom, plain: Step, weight: float
) -> None:
    task, batch, logged = _first_step(data, knowledge_supervision=weight) if weight else plain
    if not weight:
        assert logged["loss"] == pytest.approx(logged["train/answer_loss"], rel=1e-6)
        assert "train/knowledge_loss" not in logged
        return
    masses = [mass for mass in _slow_masses(task, batch) if mass is not None]
    assert len(masses) == len(batch)
    expected = -sum(map(math.log, masses)) / len(masses)
    assert logged["train/knowledge_loss"] == pytest.approx(expected, rel=1e-4)
    total = logged["train/answer_loss"] + weight * expected
    assert logged["loss"] == pytest.approx(total, rel=1e-4)


def test_answer_tags_predict_the_answers_words_from_the_image(data: Phantom) -> None:
    task, batch, logged = _first_step(data, answer_tags=0.3)
    words, table = space_of(task).vocabulary, task.text.word_embedding.weight
    assert task.tags is not None
    losses = []
    with torch.no_grad():
        tokens = task.vision(batch.images)
        for image, references in zip(batch.image_index.tolist(), batch.references, strict=True):
            summary = task.tags(tokens[image, 0])
            scores = [
                float(summary @ table[list(ids)].mean(0)) for ids in space_of(task).vocabulary_ids
            ]
            whole = sum(map(math.exp, scores))
            own = [k for k, word in enumerate(words) if any(word in r.split() for r in references)]
            losses.append(-math.log(sum(math.exp(scores[k]) for k in own) / whole))
    expected = sum(losses) / len(losses)
    assert logged["train/answer_tags_loss"] == pytest.approx(expected, rel=1e-4)
    total = logged["train/answer_loss"] + 0.3 * expected
    assert logged["loss"] == pytest.approx(total, rel=1e-4)
    answer = [one.answer for one in task.predict_step(batch, 0)]
    task.tags.weight.data.zero_()
    assert [one.answer for one in task.predict_step(batch, 0)] == answer


def test_validation_logs_the_use_of_the_vocabulary(data: Phantom, plain: Step) -> None:
    task, _, logged = plain
    batches = list(data.val_dataloader())
    masses = [mass for batch in batches for mass in _slow_masses(task, batch)]
    known = [mass for mass in masses if mass is not None]
    assert logged["val/knowledge_covered"] == pytest.approx(len(known) / len(masses))
    assert logged["val/knowledge_mass"] == pytest.approx(sum(known) / len(known), rel=1e-4)
    assert 0 < logged["val/knowledge_even"] < 1
    assert 0 <= logged["val/knowledge_top"] <= 1
    assert 1 < logged["val/knowledge_effective"] <= len(space_of(task).vocabulary)
    predicted = [one for batch in batches for one in task.predict_step(batch, 0)]
    given = [one.knowledge.mass for one in predicted if one.knowledge is not None]
    assert given == pytest.approx(masses, rel=1e-4)


def test_without_knowledge_nothing_is_built_or_logged(data: Phantom) -> None:
    task, batch, logged = _first_step(data, knowledge=False)
    assert not [name for name in task.state_dict() if name.startswith("knowledge")]
    with torch.no_grad():
        assert task(batch).reading is None
    assert not [name for name in logged if "knowledge" in name or "gate" in name]
    (first, *_) = data.val_dataloader()
    assert all(one.knowledge is None for one in task.predict_step(first, 0))


def _with_vocabulary(task: AMiFVQA, count: int) -> AnswerSpace:
    state = space_of(task).state()
    state["vocabulary"] = state["vocabulary"][:count]
    state["vocabulary_ids"] = state["vocabulary_ids"][:count]
    return AnswerSpace.from_state(state)


def test_an_empty_vocabulary_is_left_out_with_a_warning(data: Phantom) -> None:
    task = ready(data)
    with pytest.warns(UserWarning, match="The answer vocabulary is empty"):
        task._use_space(_with_vocabulary(task, 0))
    (batch, *_) = data.val_dataloader()
    fused = task(batch)
    assert fused.reading is None
    assert fused.states.isfinite().all()
    assert all(one.knowledge is None for one in task.predict_step(batch, 0))
    assert task.knowledge is not None
    assert not any(parameter.requires_grad for parameter in task.knowledge.parameters())


def test_answers_without_an_entry_are_counted(data: Phantom) -> None:
    """A vocabulary of a single word, which most answers lack."""
    task = ready(data, knowledge_supervision=0.5)
    task._use_space(_with_vocabulary(task, 1))
    (word,) = space_of(task).vocabulary
    (batch, *_) = data.val_dataloader()
    readings = [one.knowledge for one in task.predict_step(batch, 0)]
    has = [any(word in r.split() for r in references) for references in batch.references]
    assert {*has} == {True, False}
    assert [r.mass for r in readings if r is not None] == [1.0 if own else None for own in has]
    assert all(r.effective == 1 for r in readings if r is not None)


# ---- the control ------------------------------------------------------------------------------


def test_the_controls_are_counted_by_themselves(data: Phantom, task: AMiFVQA) -> None:
    running = trainer(data.root)
    running.test(task, datamodule=data, verbose=False)
    scores = running.callback_metrics
    right = []
    for loader in data.test_dataloader():
        answered = [p.correct for b in loader for p in task.eval().predict_step(b, 0)]
        assert len(answered) == len(data.splits.test)
        right.append(sum(answered) / len(answered))
    names = ("test/overall", "control/overall", "blank/overall")
    assert [float(scores[name]) for name in names] == pytest.approx(right)


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"heads": 3}, "the width must be a multiple of the heads"),
        ({"knowledge_supervision": 0.5, "knowledge": False}, "and knowledge is off"),
        ({"length_penalty": 1.0, "answer_by": "generate"}, "and 0 with answer_by generate"),
        ({"restrict_closed": True, "answer_by": "generate"}, "leave out one of the two"),
    ],
    ids=str,
)
def test_an_impossible_option_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        AMiFVQA(**(SMALL | options))


def test_a_candidate_longer_than_the_decoder_is_one_sentence(task: AMiFVQA) -> None:
    state = space_of(task).state()
    state["candidate_ids"] = (tuple(range(5, 5 + 64)), *state["candidate_ids"][1:])
    with pytest.raises(UserError, match=r"lower --data\.init_args\.max_answer_tokens to 64"):
        AMiFVQA(**SMALL)._use_space(AnswerSpace.from_state(state))


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_on_loaders_alone_nothing_is_counted(data: Phantom, stage: str) -> None:
    """Strata have names in the data module only."""
    task, loader = ready(data), data.predict_dataloader()
    run = getattr(trainer(data.root, max_steps=1), stage)
    with pytest.raises(UserError, match="On loaders alone this task can only predict"):
        run(task, loader)
