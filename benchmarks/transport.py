"""Accuracy, time and memory of token transport over blur, scaling and refinements of the plan.

Run ``python benchmarks/transport.py [--device cuda] [--repeats 5]``. Three seeded families of token
sets, 119 words against 324 patches: random directions; eight clusters of unequal mass; nearly
collapsed tokens. Per setting, the worst of the families:

- value error: relative error of GeomLoss's value to a converged float64 Sinkhorn at the same blur;
- marginals: L1 distance of the refined plan's row and column sums from uniform before rounding,
  after which they are exact;
- over exact: relative excess cost of the rounded plan over the best plan (a linear program);
- plan: time of one plan for one pair of sets, on the CPU;
- forward+backward: time of the loss, median over repeats, at the batch size given;
- memory: growth of the peak over one forward and backward.

The last row is the solver of the released code, 50 proximal steps (IPOT) with beta 0.5, every step
differentiated. It approximates the exact cost, so its value is compared with that.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linprog
from scipy.sparse import coo_matrix
from torch import Tensor

from amif_lightning.losses.transport import TokenTransport, rounded

FAMILIES = ("random", "clusters", "collapsed")
# Below 0.02 the reference Sinkhorn takes too many updates.
BLURS, SCALINGS, ITERATIONS = (0.2, 0.1, 0.05, 0.02), (0.5, 0.8, 0.9), (0, 20, 100, 200)
Loss = Callable[[Tensor, Tensor], Tensor]


def family(
    name: str, batch: int, words: int, patches: int, width: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Sample sets (batch, words, width) and (batch, patches, width) of a family, float32."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    sets = [noise(batch, count, width) for count in (words, patches)]
    if name == "clusters":
        centres = noise(batch, 8, width)
        for index, points in enumerate(sets):
            shares = torch.rand(batch, 8, generator=generator) + 0.05  # not those of the other set
            chosen = torch.multinomial(shares, points.shape[1], True, generator=generator)
            sets[index] = centres.gather(1, chosen[..., None].expand_as(points)) + 0.3 * points
    elif name == "collapsed":
        direction = noise(batch, 1, width)
        sets = [direction + 0.05 * points for points in sets]
    elif name != "random":
        raise ValueError(f"expected one of {', '.join(FAMILIES)}, got {name!r}")
    return sets[0], sets[1]


def cosine_cost(x: Tensor, y: Tensor) -> Tensor:
    """Compute the costs 1 - cos (N, M), float64, of two sets (N, D) and (M, D)."""
    return 1 - F.normalize(x.double(), dim=1) @ F.normalize(y.double(), dim=1).T


def exact(cost: Tensor) -> float:
    """Solve for the least cost of a plan with uniform marginals under costs (N, M), float64.

    A RuntimeError is raised if the linear program has no solution.
    """
    n, m = cost.shape
    cells = np.arange(n * m)
    rows = np.concatenate([cells // m, n + cells % m])
    sums = coo_matrix((np.ones(2 * n * m), (rows, np.concatenate([cells, cells]))))
    wanted = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    solved = linprog(cost.numpy().ravel(), A_eq=sums.tocsr(), b_eq=wanted, method="highs")
    if not solved.success:
        raise RuntimeError(f"the linear program was not solved: {solved.message}")
    return float(solved.fun)


def converged(
    cost: Tensor, blur: float, tolerance: float = 1e-6, max_updates: int = 50_000
) -> tuple[Tensor, float]:
    """Compute the entropic plan (N, M) with uniform marginals, and its value: cost and entropy.

    Plain log-domain updates halve the temperature down to blur squared, which saves updates. They
    continue there until the L1 distance of the plan's row sums from uniform is within
    ``tolerance``; its column sums are exact. If ``max_updates`` do not suffice, a RuntimeError is
    raised.
    """
    n, m = cost.shape
    f, g = cost.new_zeros(n), cost.new_zeros(m)
    eps = max(1.0, blur**2)
    for _ in range(max_updates):
        f = -eps * (-math.log(m) + (g[None] - cost) / eps).logsumexp(1)
        g = -eps * (-math.log(n) + (f[:, None] - cost) / eps).logsumexp(0)
        plan = ((f[:, None] + g[None] - cost) / eps).exp() / (n * m)
        wrong = float((plan.sum(1) - 1 / n).abs().sum())
        if wrong <= tolerance and eps == blur**2:
            return plan, float(f.mean() + g.mean())
        if wrong <= 1e-2:
            eps = max(eps / 2, blur**2)
    raise RuntimeError(f"no convergence at blur {blur}: the marginals are off by {wrong:.1e}")


def ipot(x: Tensor, y: Tensor, beta: float = 0.5, steps: int = 50) -> tuple[Tensor, Tensor]:
    """Proximal point steps (Xie et al. 2019): plan (B, N, M) and its cost (B,)."""
    cost = 1 - F.normalize(x, dim=2) @ F.normalize(y, dim=2).transpose(1, 2)
    n, m = cost.shape[1:]
    kernel = (-cost / beta).exp()
    plan, scale = torch.ones_like(cost), cost.new_full((len(cost), m), 1 / m)
    for _ in range(steps):
        proximal = kernel * plan
        rows = 1 / (n * (proximal @ scale[:, :, None])[:, :, 0])
        scale = 1 / (m * (proximal.transpose(1, 2) @ rows[:, :, None])[:, :, 0])
        plan = rows[:, :, None] * proximal * scale[:, None]
    return plan, (plan * cost).sum((1, 2))


@dataclass(frozen=True)
class Row:
    """One line of the table; errors are the worst of the families."""

    name: str
    value_error: float
    marginals: float
    over_exact: float
    plan_seconds: float
    seconds: float
    bytes: float

    def cells(self) -> list[str]:
        """Format the cells of the row, under :data:`HEADS`."""
        return [
            self.name,
            f"{100 * self.value_error:.2f} %",
            f"{self.marginals:.1e}",
            f"{100 * self.over_exact:.2f} %",
            f"{1000 * self.plan_seconds:.0f}",
            f"{1000 * self.seconds:.0f}",
            f"{self.bytes / 2**20:.0f}",
        ]


HEADS = (
    "",
    "value error",
    "marginals (L1)",
    "over exact",
    "plan ms",
    "forward+backward ms",
    "peak MiB",
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the sets whose loss is timed: pairs, tokens of both sets, and their width."""

    batch: int = 16
    words: int = 119
    patches: int = 324
    width: int = 64

    def sets(self, device: str) -> tuple[Tensor, Tensor]:
        """Sample sets (batch, words, width) and (batch, patches, width) that require gradients."""
        made = family("random", self.batch, self.words, self.patches, self.width, seed=1)
        x, y = (points.to(device).requires_grad_() for points in made)
        return x, y


def seconds(loss: Loss, sizes: Sizes, device: str, repeats: int) -> float:
    """Measure the median time of forward and backward after one uncounted call."""
    x, y = sizes.sets(device)
    taken = []
    for _ in range(repeats + 1):
        _wait(device)
        begun = time.perf_counter()
        torch.autograd.grad(loss(x, y).sum(), (x, y))
        _wait(device)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def peak_bytes(loss: Loss, sizes: Sizes, device: str) -> float:
    """Measure the growth of the peak memory over one forward and backward."""
    if device == "cuda":
        return _cuda_peak(loss, sizes)
    # In a fresh process, because this one would reuse memory that it already holds.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_cpu_peak, loss, sizes, torch.get_num_threads()).result()


def _cuda_peak(loss: Loss, sizes: Sizes) -> float:
    x, y = sizes.sets("cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.autograd.grad(loss(x, y).sum(), (x, y))
    return float(torch.cuda.max_memory_allocated() - before)


def _cpu_peak(loss: Loss, sizes: Sizes, threads: int) -> float:
    torch.set_num_threads(threads)
    x, y = sizes.sets("cpu")
    # Warm up: some code is loaded at first use.
    torch.autograd.grad(loss(x[:1, :9], y[:1, :9]).sum(), (x, y))
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = _memory("VmRSS")
    torch.autograd.grad(loss(x, y).sum(), (x, y))
    return _memory("VmHWM") - before


def _memory(name: str) -> float:
    """Return the bytes that Linux reports for this process, such as ``VmRSS``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024.0 * int(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status")


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@dataclass(frozen=True)
class Problem:
    """One family's first pair of sets, with its cost matrix and the exact cost."""

    x: Tensor
    y: Tensor
    cost: Tensor
    exact: float


def problems(words: int, patches: int, width: int, seed: int) -> list[Problem]:
    """Create one problem of each family."""
    made = []
    for name in FAMILIES:
        x, y = family(name, 1, words, patches, width, seed)
        cost = cosine_cost(x[0], y[0])
        made.append(Problem(x, y, cost, exact(cost)))
    return made


def all_valid(transport: TokenTransport, x: Tensor, y: Tensor) -> Tensor:
    """Compute the transport's loss of sets without padding."""
    ones = partial(torch.ones, dtype=torch.bool, device=x.device)
    value: Tensor = transport(x, y, ones(x.shape[:2]), ones(y.shape[:2]))
    return value


def released(x: Tensor, y: Tensor) -> Tensor:
    """Compute the released solver's loss."""
    return ipot(x, y)[1]


def off(plan: Tensor) -> float:
    """Compute the L1 distance of both marginals of a plan (N, M) from uniform ones."""
    rows, columns = plan.sum(1) - 1 / plan.shape[0], plan.sum(0) - 1 / plan.shape[1]
    return float(rows.abs().sum() + columns.abs().sum())


Errors = tuple[float, float, float, float]


def ours(transport: TokenTransport, problem: Problem, value: float) -> Errors:
    """Measure value error, marginal error, cost over exact and seconds of a plan."""
    sets = [problem.x, problem.y]
    masks = [torch.ones(points.shape[:2], dtype=torch.bool) for points in sets]
    found = float(transport(*sets, *masks))
    raw = transport.unrounded_plan(*sets, *masks)[0]
    begun = time.perf_counter()
    _, cost = transport.plan(*sets, *masks)
    taken = time.perf_counter() - begun
    return abs(found - value) / value, off(raw), float(cost) / problem.exact - 1, taken


def theirs(problem: Problem) -> Errors:
    """Measure the same for the released solver."""
    begun = time.perf_counter()
    plan, cost = ipot(problem.x, problem.y)
    taken = time.perf_counter() - begun
    raw = plan[0].double()
    a, b = (torch.full((1, n), 1 / n, dtype=torch.double) for n in raw.shape)
    fixed = float((rounded(raw[None], a, b)[0] * problem.cost).sum())
    away = abs(float(cost) - problem.exact) / problem.exact
    return away, off(raw), fixed / problem.exact - 1, taken


def worst(errors: Sequence[Errors]) -> Errors:
    """Return the greatest of each column."""
    first, second, third, fourth = (max(column) for column in zip(*errors, strict=True))
    return first, second, third, fourth


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns of equal width, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = row
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *numbers]))
    return "\n".join(lines)


def measured(made: Sequence[Problem], sizes: Sizes, device: str, repeats: int) -> list[Row]:
    """Measure all rows of the table; the released solver's is the last."""
    rows = []
    for blur in BLURS:
        values = [converged(problem.cost, blur)[1] for problem in made]
        for scaling in SCALINGS:
            loss = partial(all_valid, TokenTransport(blur, scaling))
            spent = seconds(loss, sizes, device, repeats), peak_bytes(loss, sizes, device)
            for iterations in ITERATIONS:
                name = f"blur {blur:<4} scaling {scaling:<3} plan_iters {iterations:>3}"
                transport = TokenTransport(blur, scaling, plan_iters=iterations)
                errors = [ours(transport, p, v) for p, v in zip(made, values, strict=True)]
                rows.append(Row(name, *worst(errors), *spent))
    spent = seconds(released, sizes, device, repeats), peak_bytes(released, sizes, device)
    rows.append(Row("IPOT, beta 0.5, 50 steps", *worst([theirs(p) for p in made]), *spent))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--device", default="cpu", choices=["cpu", "cuda"], help="where the loss is measured"
    )
    parser.add_argument("--batch", type=int, default=16, help="pairs of sets in a timed step")
    parser.add_argument("--words", type=int, default=119)
    parser.add_argument("--patches", type=int, default=324)
    parser.add_argument("--width", type=int, default=64, help="width of the tokens")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    where = torch.cuda.get_device_name() if given.device == "cuda" else f"{given.threads} threads"
    sizes = Sizes(given.batch, given.words, given.patches, given.width)
    made = problems(sizes.words, sizes.patches, sizes.width, seed=0)
    costs = ", ".join(f"{n} {p.exact:.4f}" for n, p in zip(FAMILIES, made, strict=True))
    print(
        f"{given.words} x {given.patches} tokens of width {given.width}, batch {given.batch}, "
        f"float32, {where}, torch {torch.__version__}; exact costs: {costs}"
    )
    rows = measured(made, sizes, given.device, given.repeats)
    print(table([HEADS, *(row.cells() for row in rows)]))


if __name__ == "__main__":
    main()
