"""Beam search against a slow one and against all sequences."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from amif_lightning.models.decoder import AnswerDecoder, generate
from amif_lightning.models.text import initializer_range

PAD, BOS, EOS = 0, 1, 2
V, D, S = 7, 16, 4


@pytest.fixture(scope="module")
def decoder() -> AnswerDecoder:
    """Random and opinionated: answers differ in length, and with the width of the beam."""
    torch.manual_seed(1)
    model = AnswerDecoder(V, D, 2, 2, 32, 6, dropout=0.0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(0.2 / initializer_range(D))
        model.lm.cls.predictions.bias[:EOS] = -9.0  # no padding or beginning inside an answer
    return model


@pytest.fixture(scope="module")
def states() -> tuple[Tensor, Tensor]:
    values = torch.randn(5, S, D, generator=torch.Generator().manual_seed(3))
    return values, torch.arange(S) < torch.tensor([[4], [2], [3], [4], [1]])


@torch.no_grad()
def steps(decoder: AnswerDecoder, prefix: tuple[int, ...], state: Tensor, mask: Tensor) -> Tensor:
    ids = torch.tensor([[BOS, *prefix]])
    logits = decoder(ids, torch.ones_like(ids, dtype=torch.bool), state, mask)
    log_p = logits[0, -1].log_softmax(-1)
    if decoder.scored is None:
        return log_p
    return log_p.new_full((V,), -torch.inf).index_copy(0, decoder.scored, log_p)


def slow_beam_search(
    decoder: AnswerDecoder, state: Tensor, mask: Tensor, beams: int, longest: int
) -> list[int]:
    running: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished: list[tuple[float, tuple[int, ...]]] = []
    for _ in range(longest):
        grown = []
        for score, prefix in running:
            log_p = steps(decoder, prefix, state, mask)
            grown += [(score + float(log_p[t]), (*prefix, t)) for t in range(V)]
        grown.sort(reverse=True)
        finished += [hypothesis for hypothesis in grown[:beams] if hypothesis[1][-1] == EOS]
        running = [hypothesis for hypothesis in grown if hypothesis[1][-1] != EOS][:beams]
    return [t for t in max(finished + running)[1] if t != EOS]


def every_sequence(decoder: AnswerDecoder, state: Tensor, mask: Tensor, longest: int) -> list[int]:
    prefixes: dict[tuple[int, ...], float] = {(): 0.0}
    scores: dict[tuple[int, ...], float] = {}
    for _ in range(longest):
        grown: dict[tuple[int, ...], float] = {}
        for prefix, score in prefixes.items():
            log_p = steps(decoder, prefix, state, mask).tolist()
            scores[prefix] = score + log_p[EOS]
            grown |= {(*prefix, t): score + log_p[t] for t in range(V) if t != EOS}
        prefixes = grown
    scores |= prefixes  # of the greatest length, without an end token
    return list(max(scores.items(), key=lambda item: item[1])[0])


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_equals_a_slow_beam_search(
    decoder: AnswerDecoder, states: tuple[Tensor, Tensor], beams: int
) -> None:
    values, mask = states
    expected = [
        slow_beam_search(decoder, values[b : b + 1], mask[b : b + 1], beams, 6) for b in range(5)
    ]
    assert generate(decoder, values, mask, BOS, EOS, PAD, beams) == expected
    assert len({len(answer) for answer in expected}) > 1


def test_only_scored_tokens_are_generated(
    decoder: AnswerDecoder, states: tuple[Tensor, Tensor]
) -> None:
    free = generate(decoder, *states, BOS, EOS, PAD, 3)
    used = {token for answer in free for token in answer}
    few = deepcopy(decoder)
    few.score_only([EOS, *sorted(used)[1:]], other=PAD)
    expected = [
        slow_beam_search(few, states[0][b : b + 1], states[1][b : b + 1], 3, 6) for b in range(5)
    ]
    assert generate(few, *states, BOS, EOS, PAD, 3) == expected != free


def test_a_wide_beam_finds_the_best_of_all_sequences(
    decoder: AnswerDecoder, states: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "max_length", 3)
    values, mask = states[0][:2], states[1][:2]
    expected = [every_sequence(decoder, values[b : b + 1], mask[b : b + 1], 3) for b in range(2)]
    assert generate(decoder, values, mask, BOS, EOS, PAD, beams=40) == expected


def test_a_decoder_that_would_drop_units_is_refused(states: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="eval"):
        generate(AnswerDecoder(V, D, 1, 2, 32, 6), *states, BOS, EOS, PAD)
