"""Selective knowledge fusion: the gate, the equations, and the cache of evaluation."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from amif_lightning.models.knowledge import GatedCrossAttention, Vocabulary

B, S, N, D, HEADS = 3, 5, 7, 8, 2


def make(dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> GatedCrossAttention:
    torch.manual_seed(0)
    module = GatedCrossAttention(D, HEADS, dropout).to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():  # biases and norms start at 0 and 1
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def gate_of(module: GatedCrossAttention) -> nn.Linear:
    assert module.gate is not None
    return module.gate


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ---- the equations, in loops -----------------------------------------------------------------


def slow_norm(x: list[float], norm: nn.LayerNorm) -> list[float]:
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    scale, shift = norm.weight.tolist(), norm.bias.tolist()
    return [
        (v - mean) / math.sqrt(variance + norm.eps) * g + b
        for v, g, b in zip(x, scale, shift, strict=True)
    ]


def slow_linear(x: list[float], weight: Tensor, bias: Tensor) -> list[float]:
    rows, offsets = weight.tolist(), bias.tolist()
    return [
        sum(w * v for w, v in zip(row, x, strict=True)) + b
        for row, b in zip(rows, offsets, strict=True)
    ]


def slow_ffn(x: list[float], ffn: nn.Sequential) -> list[float]:
    first, second = ffn[0], ffn[3]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    hidden = slow_linear(x, first.weight, first.bias)
    active = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in hidden]
    return slow_linear(active, second.weight, second.bias)


def slow_attention(
    query: list[float], entries: list[list[float]], attention: nn.MultiheadAttention
) -> tuple[list[float], list[float]]:
    """Output of one query, and its weights averaged over heads."""
    assert attention.in_proj_weight is not None
    wq, wk, wv = attention.in_proj_weight.chunk(3)
    bq, bk, bv = attention.in_proj_bias.chunk(3)
    q = slow_linear(query, wq, bq)
    k = [slow_linear(entry, wk, bk) for entry in entries]
    v = [slow_linear(entry, wv, bv) for entry in entries]
    wide = D // HEADS
    read, mean = [0.0] * D, [0.0] * len(entries)
    for head in range(HEADS):
        span = range(head * wide, (head + 1) * wide)
        scores = [math.exp(sum(q[i] * key[i] for i in span) / math.sqrt(wide)) for key in k]
        for n, score in enumerate(scores):
            weight = score / sum(scores)
            mean[n] += weight / HEADS
            for i in span:
                read[i] += weight * v[n][i]
    out = attention.out_proj
    return slow_linear(read, out.weight, out.bias), mean


def add(x: list[float], y: list[float]) -> list[float]:
    return [a + b for a, b in zip(x, y, strict=True)]


def slow_reading(
    module: GatedCrossAttention, states: Tensor, vocabulary: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    k = vocabulary.tolist()
    k1 = [
        slow_norm(
            add(e, slow_attention(e, k, module.knowledge_attention)[0]), module.knowledge_norm
        )
        for e in k
    ]
    known = [slow_norm(add(e, slow_ffn(e, module.knowledge_ffn)), module.knowledge_out) for e in k1]
    out = torch.zeros_like(states)
    gates = torch.zeros_like(states)
    weights = states.new_zeros(*states.shape[:2], len(vocabulary))
    for b in range(states.shape[0]):
        for s in range(states.shape[1]):
            x = states[b, s].tolist()
            read, mean = slow_attention(x, known, module.cross_attention)
            x1 = slow_norm(add(x, read), module.cross_norm)
            opened = slow_linear(x1, gate_of(module).weight, gate_of(module).bias)
            g = [1 / (1 + math.exp(-v)) for v in opened]
            m = [gi * a + (1 - gi) * c for gi, a, c in zip(g, x1, x, strict=True)]
            out[b, s] = out.new_tensor(slow_norm(add(m, slow_ffn(m, module.ffn)), module.out))
            gates[b, s], weights[b, s] = out.new_tensor(g), out.new_tensor(mean)
    return out, gates, weights


@pytest.mark.parametrize("mode", ["train", "eval", "eval without gradients"])
def test_equals_the_equations(mode: str) -> None:
    module, states, vocabulary = make(), draw(B, S, D), draw(N, D, seed=2)
    module.train(mode == "train")
    with torch.set_grad_enabled("without" not in mode):
        reading = module(states, vocabulary)
    out, gate, attention = slow_reading(module, states, vocabulary)
    torch.testing.assert_close(reading.states, out)
    torch.testing.assert_close(reading.gate, gate)
    torch.testing.assert_close(reading.log_attention.exp(), attention[:, 0])


def test_a_closed_gate_ignores_the_vocabulary() -> None:
    module, states = make(), draw(B, S, D)
    with torch.no_grad():
        gate_of(module).weight.zero_()
        gate_of(module).bias.fill_(-1e9)
    first, second = (module(states, draw(N, D, seed=k)).states for k in (2, 3))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, module.out(states + module.ffn(states)))
    with torch.no_grad():
        gate_of(module).bias.zero_()  # half open: now it does depend on the vocabulary
    first, second = (module(states, draw(N, D, seed=k)).states for k in (2, 3))
    assert (first - second).abs().max() > 1e-2


def test_no_gate_equals_an_open_gate() -> None:
    module, states, vocabulary = make(), draw(B, S, D), draw(N, D, seed=2)
    plain = GatedCrossAttention(D, HEADS, 0.0, gated=False).double()
    missing, unused = plain.load_state_dict(module.state_dict(), strict=False)
    assert not missing
    assert set(unused) == {"gate.weight", "gate.bias"}
    with torch.no_grad():
        gate_of(module).weight.zero_()
        gate_of(module).bias.fill_(1e9)
    reading = plain(states, vocabulary)
    torch.testing.assert_close(reading.states, module(states, vocabulary).states)
    assert torch.equal(reading.gate, torch.ones_like(states))
    reading.states.square().sum().backward()
    assert all(parameter.grad is not None for parameter in plain.parameters())  # as DDP demands


def test_the_question_s_attention_is_a_row_of_the_whole_one() -> None:
    """Compare with the layer's own weights of all tokens, without dropout."""
    module, states, vocabulary = make(0.5), draw(B, S, D), draw(N, D, seed=2)
    known = module.eval().encode(vocabulary).expand(B, -1, -1)
    whole = module.cross_attention(states, known, known, need_weights=True)[1]
    own = module.log_attention(states[:, 0], known[0])
    torch.testing.assert_close(own.exp(), whole[:, 0])
    torch.testing.assert_close(own.logsumexp(1), states.new_zeros(B))
    module.train()  # dropout does not change what is measured
    torch.testing.assert_close(module.log_attention(states[:, 0], known[0]), own)


# ---- K' is computed once ---------------------------------------------------------------------


@contextmanager
def counted(module: GatedCrossAttention) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of the vocabulary at every self-attention over it."""
    shapes: list[tuple[int, ...]] = []
    handle = module.knowledge_attention.register_forward_pre_hook(
        lambda _, inputs: shapes.append(tuple(inputs[0].shape))
    )
    yield shapes
    handle.remove()


def test_training_computes_it_once_per_step_at_batch_one_and_evaluation_once() -> None:
    module, states, vocabulary = make(), draw(B, S, D), draw(N, D, seed=2)
    with counted(module) as shapes:
        first, _, _ = (module(states, vocabulary).states for _ in range(3))
    assert shapes == [(1, N, D)] * 3
    module.eval()
    with counted(module) as shapes, torch.inference_mode():
        for _ in range(3):
            torch.testing.assert_close(module(states, vocabulary).states, first)
    assert shapes == [(1, N, D)]


def test_forgotten_when_weights_or_vocabulary_may_have_changed() -> None:
    module, states, vocabulary = make().eval(), draw(B, S, D), draw(N, D, seed=2)
    other = {name: value + 0.5 for name, value in module.state_dict().items()}
    with torch.no_grad():
        before = module(states, vocabulary).states
        module.load_state_dict(other)
        loaded = module(states, vocabulary).states
        assert (loaded - before).abs().max() > 1e-2
        torch.testing.assert_close(loaded, slow_reading(module, states, vocabulary)[0])
        nn.Sequential(module).load_state_dict({f"0.{k}": v - 0.5 for k, v in other.items()})
        torch.testing.assert_close(module(states, vocabulary).states, before)
        module.forget()
        new = module(states, draw(N, D, seed=3)).states
        assert (new - before).abs().max() > 1e-2


@pytest.mark.parametrize("switch", ["train and eval", "eval", "of the parent", "by its flags"])
def test_forgotten_by_a_training_step(switch: str) -> None:
    module, states, vocabulary = make().eval(), draw(B, S, D), draw(N, D, seed=2)
    parent = nn.Sequential(module)
    with torch.no_grad():
        before = module(states, vocabulary).states
    if switch == "by its flags":  # how the Trainer puts modes back after validation
        for part in module.modules():
            part.training = True
        module(states, vocabulary)
        for part in module.modules():
            part.training = False
    with torch.no_grad():
        module.knowledge_attention.out_proj.bias.add_(draw(D, seed=6))
        if switch == "train and eval":
            module.train().eval()
        elif switch == "eval":
            module.eval()
        elif switch == "of the parent":
            parent.eval()
        after = module(states, vocabulary).states
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, slow_reading(module, states, vocabulary)[0])


def test_the_cache_is_not_used_with_gradients() -> None:
    # In evaluation mode with gradients, every weight must still receive its gradient.
    module, states, vocabulary = make().eval(), draw(B, S, D), draw(N, D, seed=2)
    with torch.inference_mode():
        module(states, vocabulary)
    module(states, vocabulary).states[..., 0].sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_copies_and_pickles_do_not_share_the_cache() -> None:
    module, states, vocabulary = make().eval(), draw(B, S, D), draw(N, D, seed=2)
    with torch.no_grad():
        before = module(states, vocabulary).states
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            twin.load_state_dict({k: v + 0.5 for k, v in module.state_dict().items()})
            assert (twin(states, vocabulary).states - before).abs().max() > 1e-2
            torch.testing.assert_close(module(states, vocabulary).states, before)
    assert not any("kept" in key for key in module.state_dict())


# ---- vocabulary ------------------------------------------------------------------------------


def test_an_entry_is_the_mean_of_its_pieces() -> None:
    embedding = nn.Embedding(20, D, padding_idx=0)
    entries = [[3], [4, 5], [3, 3, 6], [7, 8, 9, 10]]
    vectors = Vocabulary(entries)(embedding)
    expected = torch.stack([embedding.weight[ids].mean(0) for ids in entries])
    torch.testing.assert_close(vectors, expected)
    (vectors * draw(4, D, dtype=torch.float32)).sum().backward()
    grad = embedding.weight.grad
    assert grad is not None
    used = sorted({i for ids in entries for i in ids})
    assert grad.abs().sum(1).nonzero()[:, 0].tolist() == used


@pytest.mark.parametrize("entries", [[], [[1], []], [[]]])
def test_entries_need_tokens(entries: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Vocabulary(entries)


def test_a_vocabulary_adds_nothing_to_a_checkpoint() -> None:
    assert Vocabulary([[1, 2], [3]]).state_dict() == {}


def test_bf16_autocast_stays_close_and_finite() -> None:
    module = make(dtype=torch.float32)
    states, vocabulary = (
        draw(*shape, dtype=torch.float32, seed=k) for k, shape in ((1, (B, S, D)), (2, (N, D)))
    )
    exact = module(states, vocabulary).states
    for mode in (True, False):
        module.train(mode)
        module.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = module(states, vocabulary)
        assert rough.log_attention.dtype == torch.float32
        torch.testing.assert_close(rough.states.float(), exact, atol=0.1, rtol=0.1)
        rough.states[..., 0].float().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
