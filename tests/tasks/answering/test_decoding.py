"""How the task answers: by ranking, by ranking per token, among yes and no, or by generating."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from amif_lightning.batch import VQABatch
from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering import decoding as answerer
from amif_lightning.tasks.answering.decoding import MAX_ANSWER_POSITIONS
from data_modules.phantom.module import Phantom
from tests.small import SMALL, ready, slow_likelihood, space_of, trainer


@pytest.fixture(scope="module")
def every(task: AMiFVQA, batch: VQABatch) -> Tensor:
    """(B, N) log-likelihood of every candidate for every question, each scored by itself."""
    space = space_of(task)
    with torch.no_grad():
        fused = task(batch)
    return torch.tensor(
        [
            [slow_likelihood(task, fused, row, [*ids, space.sep_id]) for ids in space.candidate_ids]
            for row in range(len(batch))
        ]
    )


def _answers(task: AMiFVQA, batch: VQABatch) -> tuple[list[str], Tensor]:
    """Texts and log-likelihoods."""
    with torch.no_grad():
        texts, values = zip(*task.answers(task(batch), batch), strict=True)
    return list(texts), torch.tensor(values)


# ---- ranking ----------------------------------------------------------------------------------


def test_it_answers_with_the_most_likely_candidate(
    task: AMiFVQA, batch: VQABatch, every: Tensor
) -> None:
    texts, values = _answers(task, batch)
    best, index = every.max(1)
    assert texts == [space_of(task).candidates[i] for i in index.tolist()]
    torch.testing.assert_close(values, best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_a_length_penalty_divides_the_score_and_not_the_likelihood(
    data: Phantom, task: AMiFVQA, batch: VQABatch, every: Tensor, power: float
) -> None:
    space = space_of(task)
    lengths = torch.tensor([len(ids) + 1.0 for ids in space.candidate_ids])
    index = (every / lengths**power).argmax(1)
    assert len(set(lengths.tolist())) > 1
    if power == 2.0:
        assert (index != every.argmax(1)).any()
    penalised = ready(data, length_penalty=power)
    penalised.load_state_dict(task.state_dict())
    texts, values = _answers(penalised, batch)
    assert texts == [space.candidates[i] for i in index.tolist()]
    expected = every.gather(1, index[:, None])[:, 0]
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)


def test_the_decoder_can_score_the_tokens_of_the_answers_only(
    data: Phantom, task: AMiFVQA, batch: VQABatch
) -> None:
    space = space_of(task)
    few = ready(data, output_tokens="answers")
    few.load_state_dict(task.state_dict())
    used = {space.pad_id, space.sep_id, *(token for ids in space.candidate_ids for token in ids)}
    assert few.decoder.columns_of(torch.tensor(sorted(used))).tolist() == list(range(len(used)))
    assert few.decoder.outputs == len(used) < space.table_size
    hide = torch.full((space.table_size,), -torch.inf)
    hide[sorted(used)] = 0
    with torch.no_grad():
        fused = task(batch)
        scores = torch.zeros(len(batch), len(space.candidates))
        for n, ids in enumerate(space.candidate_ids):
            given = torch.tensor([[space.cls_id, *ids]]).expand(len(batch), -1)
            logits = task.decoder(given, torch.ones_like(given).bool(), fused.states, fused.mask)
            log_p = (logits + hide).log_softmax(-1)
            scores[:, n] = sum(log_p[:, t, token] for t, token in enumerate([*ids, space.sep_id]))
    texts, values = _answers(few, batch)
    torch.testing.assert_close(values, scores.max(1).values, rtol=1e-4, atol=1e-4)
    assert texts == [space.candidates[i] for i in scores.argmax(1).tolist()]


# ---- yes and no only --------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_closed_questions_can_be_restricted_to_yes_and_no(
    data: Phantom, task: AMiFVQA, batch: VQABatch, every: Tensor, power: float
) -> None:
    restricted = ready(data, restrict_closed=True, length_penalty=power)
    restricted.load_state_dict(task.state_dict())
    free = ready(data, length_penalty=power)
    free.load_state_dict(task.state_dict())
    candidates = space_of(task).candidates
    yes, no = candidates.index("yes"), candidates.index("no")
    closed = batch.strata[:, task.strata.index("closed/field")].tolist()
    assert any(closed)
    assert not all(closed)
    given, values = _answers(restricted, batch)
    unrestricted, _ = _answers(free, batch)
    for row, is_closed in enumerate(closed):
        if is_closed:
            assert given[row] == ("yes" if every[row, yes] > every[row, no] else "no")
            assert float(values[row]) == pytest.approx(float(every[row, [yes, no]].max()), rel=1e-4)
        else:
            assert given[row] == unrestricted[row]


def test_restricting_needs_a_release_that_marks_closed_questions(
    data: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(data.__dict__, "strata", ("overall", "open/answer"))
    task = AMiFVQA(**SMALL, restrict_closed=True)
    running = trainer(data.root, limit_val_batches=0)  # the error comes before the first question
    with pytest.raises(UserError, match="needs a release that marks closed"):
        running.validate(task, datamodule=data, verbose=False)


@pytest.mark.parametrize("left", [("yes",), ("no",), ()])
def test_restricting_needs_both_answers_among_the_candidates(
    task: AMiFVQA, left: tuple[str, ...]
) -> None:
    space = space_of(task)
    kept = [
        (text, ids)
        for text, ids in zip(space.candidates, space.candidate_ids, strict=True)
        if text not in ("yes", "no") or text in left
    ]
    texts, ids = zip(*kept, strict=True)
    poor = replace(space, candidates=texts, candidate_ids=ids)
    AMiFVQA(**SMALL)._use_space(poor)
    with pytest.raises(UserError, match="restrict_closed needs yes and no among the candidate"):
        AMiFVQA(**SMALL, restrict_closed=True)._use_space(poor)


# ---- generating -------------------------------------------------------------------------------


def test_generated_answers_carry_their_own_likelihood(data: Phantom, batch: VQABatch) -> None:
    task = ready(data, answer_by="generate", beams=2)
    end = space_of(task).sep_id
    with torch.no_grad():
        fused = task(batch)
    # The shortest and the longest that end, one that fills all positions, and padded ones.
    sequences = [[], [7], [5, 6], [8] * (MAX_ANSWER_POSITIONS - 1), [9] * MAX_ANSWER_POSITIONS]
    sequences += [[8]] * (len(batch) - len(sequences))
    expected = [
        slow_likelihood(task, fused, row, [*ids, end][:MAX_ANSWER_POSITIONS])
        for row, ids in enumerate(sequences)
    ]
    with torch.no_grad():
        assert task.answerer is not None
        values = task.answerer.likelihood_of(sequences, fused.states, fused.mask)
    assert values == pytest.approx(expected, rel=1e-4)
    assert all(value < 0 for value in values)


def test_an_answer_without_an_end_fills_all_positions(data: Phantom, batch: VQABatch) -> None:
    task = ready(data, answer_by="generate", beams=1)
    space = space_of(task)
    word = space.candidate_ids[space.candidates.index("yes")]
    bias = task.decoder.lm.cls.predictions.bias.data
    bias[space.sep_id], bias[word[0]] = -20.0, 10.0
    texts, values = _answers(task, batch)
    assert texts == [" ".join(["yes"] * MAX_ANSWER_POSITIONS)] * len(batch)
    with torch.no_grad():
        fused = task(batch)
    expected = slow_likelihood(task, fused, 1, word * MAX_ANSWER_POSITIONS)
    assert float(values[1]) == pytest.approx(expected, rel=1e-4)


def test_a_generated_answer_counts_when_a_reference_has_its_tokens(
    data: Phantom, batch: VQABatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ready(data, answer_by="generate")
    space = space_of(task)
    yes = list(space.candidate_ids[space.candidates.index("yes")])
    monkeypatch.setattr(answerer, "generate", lambda *_, **__: [yes] * len(batch))
    # Capitals are lost in tokens.
    asked = replace(batch, references=[("no", "Yes"), *[("no",)] * (len(batch) - 1)])
    with torch.no_grad():
        first, *others = task.predict_step(asked, 0)
    assert (first.answer, first.correct) == ("Yes", True)
    assert {(p.answer, p.correct) for p in others} == {("yes", False)}
