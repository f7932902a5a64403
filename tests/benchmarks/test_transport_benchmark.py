"""The benchmark of transport: its exact solvers, the released one, and the printed table."""

from __future__ import annotations

import math

import pytest
import torch

from amif_lightning.losses.transport import TokenTransport
from benchmarks import transport
from benchmarks.transport import FAMILIES, Sizes, converged, cosine_cost, exact, family, ipot, off


def test_the_linear_program_finds_the_best_plan() -> None:
    # Two against three: 1/3 of the mass each way at no cost, and 1/6 + 1/6 has to go to the third.
    cost = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.2]], dtype=torch.double)
    assert exact(cost) == pytest.approx((0.5 + 0.2) / 6)


def test_sinkhorn_is_converged() -> None:
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.double)
    plan, value = converged(cost, 0.7)
    # By symmetry both potentials are constant, and the plan is a softmax of each row.
    eps, stay = 0.49, 0.5 / (1 + math.exp(-1 / 0.49))
    torch.testing.assert_close(plan.diagonal(), torch.full((2,), stay, dtype=torch.double))
    assert value == pytest.approx(-eps * math.log((1 + math.exp(-1 / eps)) / 2))
    x, y = family("clusters", 1, 12, 17, 8, seed=3)
    plan, value = converged(cosine_cost(x[0], y[0]), 0.1)
    assert off(plan) <= 2e-6
    entropy = 0.01 * float((plan * (plan * 12 * 17).log()).sum())
    assert float((plan * cosine_cost(x[0], y[0])).sum()) + entropy == pytest.approx(value, rel=1e-5)
    with pytest.raises(RuntimeError, match=r"no convergence at blur 0\.1"):
        converged(cosine_cost(x[0], y[0]), 0.1, max_updates=3)


def test_proximal_steps_come_near_the_best_plan() -> None:
    x, y = family("random", 1, 6, 9, 8, seed=0)
    plan, cost = ipot(x, y)
    assert off(plan[0]) < 0.05
    best = exact(cosine_cost(x[0], y[0]))
    assert best * 0.98 < float(cost) < 1.1 * best


def test_families_are_what_their_names_say() -> None:
    spread = {}
    for name in FAMILIES:
        x, y = family(name, 2, 30, 40, 64, seed=0)
        assert x.shape == (2, 30, 64)
        assert y.shape == (2, 40, 64)
        assert torch.equal(x, family(name, 2, 30, 40, 64, seed=0)[0])
        assert not torch.equal(x, family(name, 2, 30, 40, 64, seed=1)[0])
        spread[name] = cosine_cost(x[0], y[0])
    assert float(spread["collapsed"].max()) < 0.02
    assert float(spread["random"].mean()) == pytest.approx(1.0, abs=0.05)
    # Within a cluster cosines are high, between clusters they are not, and shares differ.
    near = spread["clusters"] < 0.5
    assert 0.02 < float(near.double().mean()) < 0.4
    assert float(near.double().mean(1).std()) > 0.01
    with pytest.raises(ValueError, match="expected one of random"):
        family("other", 1, 2, 3, 4, seed=0)


def test_the_table_has_a_row_for_each_setting_and_the_released_solver(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transport, "BLURS", (0.3, 0.2))
    monkeypatch.setattr(transport, "SCALINGS", (0.5,))
    monkeypatch.setattr(transport, "ITERATIONS", (0, 50))
    monkeypatch.setattr(transport, "peak_bytes", lambda *given: 3.0 * 2**20)
    threads = ["--threads", str(torch.get_num_threads())]
    transport.main(["--words=5", "--patches=7", "--width=4", "--batch=2", "--repeats=1", *threads])
    about, heads, *rows = capsys.readouterr().out.splitlines()
    assert about.startswith("5 x 7 tokens of width 4, batch 2")
    assert len({len(line) for line in (heads, *rows)}) == 1
    assert [row[:38].strip() for row in rows] == [
        *(f"blur {blur}  scaling 0.5 plan_iters {n:>3}" for blur in (0.3, 0.2) for n in (0, 50)),
        "IPOT, beta 0.5, 50 steps",
    ]
    errors = [[float(cell) for cell in row[38:].replace("%", "").split()] for row in rows]
    assert all(len(row) == 6 and min(row) >= 0 for row in errors)
    refined, raw = errors[1], errors[0]
    assert refined[2] < raw[2]  # over exact
    assert refined[2] <= 6.0
    assert all(row[-1] == 3.0 for row in errors)


def test_memory_grows_by_what_is_kept() -> None:
    sizes = Sizes(batch=8, words=119, patches=324, width=8)
    few = transport.peak_bytes(transport.released, Sizes(1, 5, 7, 4), "cpu")
    # 50 differentiated steps keep three matrices of costs each at least.
    matrix = 4 * sizes.batch * sizes.words * sizes.patches
    many = transport.peak_bytes(transport.released, sizes, "cpu")
    assert many > 100 * matrix
    assert few < 2**24


def test_the_defaults_are_in_the_table() -> None:
    default = TokenTransport()
    assert default.blur in transport.BLURS
    assert default.scaling in transport.SCALINGS
    assert default.plan_iters in transport.ITERATIONS
