"""Candidate ranking: exact scores, bounded memory, and a search that equals the ranking."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from amif_lightning.losses.answering import sequence_log_likelihood
from amif_lightning.models.decoder import AnswerDecoder
from amif_lightning.models.ranking import CandidateTree, best, rank, top_k
from amif_lightning.models.text import initializer_range

PAD, BOS, EOS = 0, 1, 2
V, D, S = 40, 32, 7
# Shared prefixes, a candidate that is the prefix of another, and one that occurs twice.
CANDIDATES = [[5], [5, 6], [5, 6, 7], [5, 6, 8], [9, 6, 7], [5, 6], [9], [10, 11, 12, 13], [10, 11]]


def many(seed: int, count: int = 150) -> list[list[int]]:
    draw = random.Random(seed)
    return [
        [draw.randrange(3, V) for _ in range(draw.choice((1, 1, 2, 3, 4)))] for _ in range(count)
    ]


def decoder_of(
    implementation: Literal["sdpa", "eager"] = "sdpa", scale: float = 3.0
) -> AnswerDecoder:
    torch.manual_seed(0)
    model = AnswerDecoder(V, D, 2, 2, 64, 8, attn_implementation=implementation).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # weights of one spread for any width
            if parameter.ndim == 2:
                parameter.mul_(scale * 0.02 / initializer_range(D))
        model.lm.cls.predictions.bias.normal_()
    return model


def states_of(batch: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, S + 1, (batch, 1), generator=generator)
    return torch.randn(batch, S, D, generator=generator), torch.arange(S) < lengths


@pytest.fixture(scope="module")
def trained() -> tuple[AnswerDecoder, list[list[int]], Tensor, Tensor]:
    """A decoder that has learned which of 150 candidates belongs to each of 24 questions."""
    torch.manual_seed(0)
    candidates = many(7)
    model = AnswerDecoder(V, D, 2, 2, 64, 8, dropout=0.0)
    states, states_mask = states_of(24)
    answers = candidates[:24]
    longest = max(map(len, answers))
    ids = torch.tensor([[BOS, *a, EOS] + [PAD] * (longest - len(a)) for a in answers])
    mask = torch.arange(longest + 1) < torch.tensor([[len(a) + 1] for a in answers])
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        logits = model(ids[:, :-1], mask, states, states_mask)
        optimiser.zero_grad()
        (-sequence_log_likelihood(logits[mask], ids[:, 1:], mask).mean()).backward()
        optimiser.step()
    return model.eval(), candidates, states, states_mask


@torch.no_grad()
def one_at_a_time(
    decoder: AnswerDecoder,
    candidates: list[list[int]],
    states: Tensor,
    mask: Tensor,
    first_token_again: bool = False,
) -> Tensor:
    """Each candidate of each question alone through transformers' model: no packing, no cache."""
    scores = torch.empty(len(states), len(candidates))
    for b in range(len(states)):
        for n, candidate in enumerate(candidates):
            logits = decoder.lm(
                input_ids=torch.tensor([[BOS, *candidate]]),
                encoder_hidden_states=states[b : b + 1, mask[b]],
                use_cache=False,
            ).logits[0]
            if decoder.scored is not None:
                others = [t for t in range(V) if t not in decoder.scored.tolist()]
                logits[:, others] = -torch.inf
            targets = torch.tensor([*candidate, EOS])
            log_p = logits.log_softmax(-1)[torch.arange(len(targets)), targets]
            scores[b, n] = log_p.sum() + (log_p[0] if first_token_again else 0.0)
    return scores


@contextmanager
def head_rows(decoder: AnswerDecoder) -> Iterator[list[int]]:
    """Number of prefixes that reach the output layer, call by call."""
    rows: list[int] = []
    hook = decoder.lm.cls.register_forward_hook(
        lambda module, args, out: rows.append(out[..., 0].numel())
    )
    yield rows
    hook.remove()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_rank_equals_one_candidate_at_a_time(implementation: Literal["sdpa", "eager"]) -> None:
    decoder, (states, mask) = decoder_of(implementation), states_of(3)
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    expected = one_at_a_time(decoder, CANDIDATES, states, mask)
    scores = rank(decoder, tree, states, mask)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    assert expected.std(0).min() > 1e-3  # the questions differ, so a mix-up would show
    assert torch.equal(scores[:, 1], scores[:, 5])  # the same ids


def test_both_searches_follow_the_scored_tokens() -> None:
    decoder, (states, mask) = decoder_of(), states_of(3)
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    full = rank(decoder, tree, states, mask)
    decoder.score_only([EOS, *(token for ids in CANDIDATES for token in ids)], other=PAD)
    expected = one_at_a_time(decoder, CANDIDATES, states, mask)
    scores = rank(decoder, tree, states, mask)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    assert (scores - full).min() > 0.1  # less probability is given away
    found, ordered = best(decoder, tree, states, mask, k=3), top_k(scores, 3)
    assert torch.equal(found.indices, ordered.indices)
    torch.testing.assert_close(found.scores, ordered.scores, atol=1e-4, rtol=0)


def test_the_first_token_counts_once() -> None:
    decoder, (states, mask) = decoder_of(), states_of(3)
    candidates = many(0)
    expected = one_at_a_time(decoder, candidates, states, mask)

    def check(scores: Tensor) -> None:
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)

    check(rank(decoder, CandidateTree(candidates, BOS, EOS), states, mask))
    wrong = one_at_a_time(decoder, candidates, states, mask, first_token_again=True)
    with pytest.raises(AssertionError):
        check(wrong)
    # Not a constant shift either: between these two candidates the wrong sum answers otherwise.
    better = expected[0][:, None] > expected[0]
    pair = (better & (wrong[0][:, None] < wrong[0])).nonzero()[0]
    two = CandidateTree([candidates[n] for n in pair.tolist()], BOS, EOS)
    assert best(decoder, two, states[:1], mask[:1]).indices.tolist() == [[0]]
    assert wrong[0, pair].argmax() == 1


def test_the_score_is_what_the_loss_sums() -> None:
    decoder, (states, mask) = decoder_of(), states_of(len(CANDIDATES))
    longest = max(map(len, CANDIDATES))
    ids = torch.tensor([[BOS, *c, EOS] + [PAD] * (longest - len(c)) for c in CANDIDATES])
    valid = torch.arange(longest + 1) < torch.tensor([[len(c) + 1] for c in CANDIDATES])
    logits = decoder(ids[:, :-1], valid, states, mask)
    scores = rank(decoder, CandidateTree(CANDIDATES, BOS, EOS), states, mask)
    likelihood = sequence_log_likelihood(logits[valid], ids[:, 1:], valid)
    torch.testing.assert_close(scores.diagonal(), likelihood, atol=1e-4, rtol=0)


@pytest.mark.parametrize("max_nodes", [1, 2, 5, 13, 10_000])
def test_passes_of_any_size_give_the_same_scores(max_nodes: int) -> None:
    decoder, (states, mask) = decoder_of(), states_of(2)
    tree = CandidateTree([*CANDIDATES, *many(1, 40), []], BOS, EOS)
    expected = one_at_a_time(decoder, [*CANDIDATES, *many(1, 40), []], states, mask)
    scores = rank(decoder, tree, states, mask, max_nodes=max_nodes)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_slices_of_the_output_layer_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, (states, mask) = decoder_of(), states_of(2)
    tree = CandidateTree(many(1), BOS, EOS)
    expected, found = rank(decoder, tree, states, mask), best(decoder, tree, states, mask, 3)
    monkeypatch.setattr("amif_lightning.models.ranking._LOGITS", 7 * V)
    torch.testing.assert_close(rank(decoder, tree, states, mask), expected)
    assert torch.equal(best(decoder, tree, states, mask, 3).indices, found.indices)


def test_length_penalty_divides_by_the_number_of_scored_tokens() -> None:
    decoder, (states, mask) = decoder_of(), states_of(2)
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    lengths = torch.tensor([len(candidate) + 1.0 for candidate in CANDIDATES])
    plain = rank(decoder, tree, states, mask)
    torch.testing.assert_close(rank(decoder, tree, states, mask, 0.7), plain / lengths**0.7)


def test_scores_are_float32_for_any_default_type() -> None:
    """Under `bf16-true` the default type is bfloat16, in which near answers would be equal."""
    decoder, (states, mask) = decoder_of(), states_of(5)
    tree = CandidateTree(many(0), BOS, EOS)
    expected = best(decoder, tree, states, mask, 3)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = best(decoder, tree, states, mask, 3)
        every = rank(decoder, tree, states, mask)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.scores.dtype == every.dtype == torch.float32
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(top_k(every, 3).scores, expected.scores)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 3, 150])
def test_best_equals_the_full_ranking(seed: int, k: int) -> None:
    decoder, (states, mask) = decoder_of(scale=1.0 + seed), states_of(5, seed)
    tree = CandidateTree(many(seed), BOS, EOS)
    expected = top_k(rank(decoder, tree, states, mask), k)
    found = best(decoder, tree, states, mask, k)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("max_prefixes", [1, 4, 64])
def test_best_equals_the_full_ranking_when_trained(
    trained: tuple[AnswerDecoder, list[list[int]], Tensor, Tensor], max_prefixes: int
) -> None:
    decoder, candidates, states, mask = trained
    tree = CandidateTree(candidates, BOS, EOS)
    # Half the questions are known, half are noise: they finish in different rounds.
    noise, noise_mask = states_of(24, seed=9)
    states, mask = torch.cat([states, noise])[::3], torch.cat([mask, noise_mask])[::3]
    expected = top_k(rank(decoder, tree, states, mask), 3)
    found = best(decoder, tree, states, mask, 3, max_prefixes=max_prefixes)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)


def test_a_trained_decoder_expands_few_prefixes(
    trained: tuple[AnswerDecoder, list[list[int]], Tensor, Tensor],
) -> None:
    decoder, candidates, states, mask = trained
    tree = CandidateTree(candidates, BOS, EOS)
    with head_rows(decoder) as full:
        rank(decoder, tree, states, mask)
    with head_rows(decoder) as few:
        best(decoder, tree, states, mask)
    assert sum(full) == tree.nodes * len(states)
    assert sum(few) < sum(full) / 10


def test_no_prefix_below_the_best_answer_is_expanded(
    trained: tuple[AnswerDecoder, list[list[int]], Tensor, Tensor],
) -> None:
    decoder, candidates, states, mask = trained
    tree = CandidateTree(candidates, BOS, EOS)
    scores = rank(decoder, tree, states[:1], mask[:1])[0]
    # One prefix a round: exactly those whose log p is not below the best answer's are expanded.
    prefixes = {tuple(c[:i]) for c in candidates for i in range(len(c) + 1)}
    reaching = 0
    with torch.no_grad():
        for prefix in prefixes:
            ids = torch.tensor([[BOS, *prefix]])
            logits = decoder(ids, torch.ones_like(ids, dtype=torch.bool), states[:1], mask[:1])
            log_p = logits[0].log_softmax(-1)
            total = sum(float(log_p[i, token]) for i, token in enumerate(prefix))
            reaching += total >= float(scores.max())
    with head_rows(decoder) as rows:
        best(decoder, tree, states[:1], mask[:1], max_prefixes=1)
    assert sum(rows) == reaching < tree.nodes


@pytest.mark.parametrize("k", [1, 4, 9])
def test_a_uniform_decoder_ties_all_answers_of_one_length(k: int) -> None:
    decoder, (states, mask) = decoder_of(), states_of(2)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
    order = sorted(range(len(CANDIDATES)), key=lambda n: (len(CANDIDATES[n]), n))
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    for found in (
        best(decoder, tree, states, mask, k),
        top_k(rank(decoder, tree, states, mask), k),
    ):
        assert found.indices.tolist() == [order[:k]] * 2
        lengths = torch.tensor([len(CANDIDATES[n]) + 1.0 for n in order[:k]])
        expected = (-lengths * torch.tensor(float(V)).log()).expand(2, -1)
        torch.testing.assert_close(found.scores, expected)


class Table(AnswerDecoder):
    """Scores of the next token that depend on the last token only."""

    def __init__(self, following: dict[int, list[int]]) -> None:
        super().__init__(V, D, 1, 2, 64, 8)
        self.table = torch.full((V, V), -1e4)
        for token, possible in following.items():
            self.table[token, possible] = 0.0

    def hidden(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return torch.nn.functional.one_hot(input_ids, V).float()

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.table


# Which of two equal prefixes is met first is open, so each comes first in one of the trees.
@pytest.mark.parametrize("before", [[5, 9], [6, 9]])
def test_a_prefix_equal_to_the_best_answer_is_still_expanded(before: list[int]) -> None:
    """It may go on with certainty, tie with that answer and come before it in order."""
    decoder = Table({BOS: [5, 6], 5: [EOS], 6: [7], 7: [EOS]}).eval()
    states, mask = states_of(1)
    tree = CandidateTree([before, [6, 7], [5]], BOS, EOS)
    half = -torch.tensor(2.0).log()
    assert rank(decoder, tree, states, mask)[0, 1:].tolist() == [half, half]
    assert best(decoder, tree, states, mask, max_prefixes=1).indices.tolist() == [[1]]


def test_states_are_read_once_per_question_and_never_tiled() -> None:
    decoder, (states, mask) = decoder_of(), states_of(3)
    tree = CandidateTree(many(2), BOS, EOS)
    keys: list[tuple[int, ...]] = []

    def record(module: torch.nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        keys.append(tuple(output.shape))

    for name, module in decoder.named_modules():
        if name.endswith(("crossattention.self.key", "crossattention.self.value")):
            module.register_forward_hook(record)
    rank(decoder, tree, states, mask, max_nodes=20)
    assert keys == [(3, S, D)] * 4  # keys and values of two layers, for any number of passes
    keys.clear()
    best(decoder, tree, states, mask, 5)
    assert keys == [(3, S, D)] * 4


def test_bf16_autocast_stays_close() -> None:
    decoder, (states, mask) = decoder_of(scale=1.5), states_of(4)
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    exact = rank(decoder, tree, states, mask)
    with torch.autocast("cpu", torch.bfloat16):
        low = rank(decoder, tree, states, mask)
        found = best(decoder, tree, states, mask, len(CANDIDATES))
    assert low.dtype == found.scores.dtype == torch.float32
    torch.testing.assert_close(low, exact, atol=0.15, rtol=0)
    again = torch.empty_like(low).scatter_(1, found.indices, found.scores)
    torch.testing.assert_close(again, exact, atol=0.15, rtol=0)


def test_shared_prefixes_are_one_node() -> None:
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    prefixes = {tuple(c[:i]) for c in CANDIDATES for i in range(len(c) + 1)}
    assert tree.nodes == len(prefixes)
    assert len(tree) == len(CANDIDATES)
    for n, candidate in enumerate(CANDIDATES):
        path = tree.path[tree.terminal[n], : len(candidate) + 1]
        assert tree.tokens[path].tolist() == [BOS, *candidate]
        assert tree.lengths[n] == len(candidate) + 1
    assert bool((tree.parent[1:] < torch.arange(1, tree.nodes)).all())  # depth-first


def test_a_moved_tree_is_the_same_tree() -> None:
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    moved = tree.to("meta")
    assert moved.tokens.device.type == moved.first_ending.device.type == "meta"
    assert (len(moved), moved.nodes, moved.longest) == (len(tree), tree.nodes, tree.longest)


def test_bad_arguments_are_named() -> None:
    decoder, (states, mask) = decoder_of(), states_of(1)
    tree = CandidateTree(CANDIDATES, BOS, EOS)
    with pytest.raises(ValueError, match="no candidate answers"):
        CandidateTree([], BOS, EOS)
    with pytest.raises(ValueError, match=r"candidate 1 contains the end token 2"):
        CandidateTree([[5], [5, EOS, 6]], BOS, EOS)
    for work in (rank, best):
        with pytest.raises(ValueError, match="eval"):
            work(AnswerDecoder(V, D, 1, 2, 64, 8), tree, states, mask)
        with pytest.raises(FloatingPointError, match="not finite"):
            work(decoder, tree, states * float("nan"), mask)
