"""Local alignment: optimal transport between two sets of tokens (paper, unified local alignment).

B pairs of sets, N and M tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from geomloss import SamplesLoss
from torch import Tensor, nn

from amif_lightning.losses.matching import LEAST_PAIRS

#: Largest distance of two unit vectors; a constant, so values do not depend on the batch.
DIAMETER = 2.0

# During the first 80 % of a plan's updates its temperature decreases from _FIRST to _LAST times the
# mean cost. It is relative because no fixed temperature suits both spread and nearly collapsed
# tokens, and starts high because mass does not change clusters at a low one.
_FIRST, _LAST, _COOLING = 0.3, 0.005, 0.8
# If all tokens are equal, the mean cost is a rounding error.
_LEAST_COST = 1e-12


class TokenTransport(nn.Module):
    r"""Entropic optimal transport of one set of tokens onto another.

    Tokens are scaled to unit norm, so that GeomLoss's cost is the cosine distance:

    .. math:: C_{ij} = \tfrac12 \|x_i - y_j\|^2 = 1 - \cos(x_i, y_j), \qquad
        \mathrm{OT} = \min_{P} \langle P, C \rangle
        + blur^2\, \mathrm{KL}(P \| a \otimes b)

    over plans P with uniform marginals a and b on the valid tokens.

    GeomLoss anneals the entropy along a fixed schedule and does not iterate to convergence. Its
    final marginals can be off by a third of the mass, which is enough for a loss; :meth:`plan`
    refines and rounds plans for display. Only the last update of the two potentials is
    differentiated. The gradient is that of the cost under the row-normalised plan for x and the
    column-normalised plan for y. It equals the gradient of the value only at convergence, so a
    finite-difference check would fail.

    The defaults follow benchmarks/transport.py (docs/results/transport.txt). If mass must change
    clusters, GeomLoss's value is 17 to 52 % below the converged one for every setting. Scaling 0.9
    halves the gap but takes more steps, so the loss uses 0.5. Blur 0.05 gives a temperature
    (0.0025) near the cost of moving nearly collapsed tokens (0.0015 at best). A larger blur would
    merge them; a smaller one is farther from convergence. The worst plan costs 4 % more than the
    best one after 100 updates and 2 % more after 200.

    Args:
        blur: Length scale of the entropy, in (0, 2); the temperature is blur squared.
        scaling: Ratio of successive scales of the annealing, in (0, 1); closer to 1 is slower and
            closer to convergence.
        reach: Length scale of unbalanced transport, beyond which mass is destroyed and not moved.
            None: balanced.
        plan_iters: Alternating updates that refine a plan at a temperature far below the loss's, so
            that the plan shows the transport and not the entropy.
    """

    def __init__(
        self,
        blur: float = 0.05,
        scaling: float = 0.5,
        reach: float | None = None,
        plan_iters: int = 200,
    ) -> None:
        super().__init__()
        self.blur, self.scaling, self.reach, self.plan_iters = blur, scaling, reach, plan_iters
        options = {
            "loss": "sinkhorn",
            "p": 2,
            "blur": blur,
            "scaling": scaling,
            "reach": reach,
            "diameter": DIAMETER,
            "debias": False,
            "backend": "tensorized",
        }
        self._value = SamplesLoss(**options)
        self._potentials = SamplesLoss(**options, potentials=True)

    def forward(self, x: Tensor, y: Tensor, x_mask: Tensor, y_mask: Tensor) -> Tensor:
        """Compute GeomLoss's value (B,), float32 or float64; 0 for an empty set.

        x (B, N, D) and y (B, M, D) are tokens of any norm. Their masks (B, N) and (B, M) bool are
        true on valid tokens.
        """
        with torch.autocast(x.device.type, enabled=False), _same_grad_mode():
            values: Tensor = self._value(*_measure(x, x_mask), *_measure(y, y_mask))
            return values.where(x_mask.any(1) & y_mask.any(1), 0.0)

    @torch.no_grad()
    def plan(self, x: Tensor, y: Tensor, x_mask: Tensor, y_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the plan (B, N, M) from GeomLoss's potentials; also return its cost <P, C> (B,).

        Arguments are those of :meth:`forward`. The plan is 0 on padding. A balanced plan has mass 1
        and exact marginals.
        """
        plan, cost, a, b = self._refined(x, y, x_mask, y_mask)
        if self.reach is None:
            plan = rounded(plan, a, b)
        present = x_mask.any(1) & y_mask.any(1)
        plan = plan.where(present[:, None, None], 0.0)
        return plan, (plan * cost).sum((1, 2))

    @torch.no_grad()
    def unrounded_plan(self, x: Tensor, y: Tensor, x_mask: Tensor, y_mask: Tensor) -> Tensor:
        """Return the refined plan (B, N, M) before rounding, to measure its convergence."""
        return self._refined(x, y, x_mask, y_mask)[0]

    def _refined(
        self, x: Tensor, y: Tensor, x_mask: Tensor, y_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return plan, cost matrix and both weights in float64; arbitrary for empty sets."""
        with torch.autocast(x.device.type, enabled=False), _same_grad_mode():
            # float64: the temperature is below a hundredth of the costs, which for collapsed tokens
            # are as small as float32 rounding.
            (a, x), (b, y) = _measure(x.double(), x_mask), _measure(y.double(), y_mask)
            f, g = self._potentials(a, x, b, y)
            cost = 1 - x @ y.transpose(1, 2)
        log_a, log_b = a.log(), b.log()
        mean = (cost * a[:, :, None] * b[:, None]).sum((1, 2)).clamp_min(_LEAST_COST)
        eps = torch.full_like(mean, self.blur**2)
        for step in range(self.plan_iters):
            cooled = min(1.0, (step + 1) / (_COOLING * self.plan_iters))
            eps = mean * _FIRST ** (1 - cooled) * _LAST**cooled
            f, g = self._update(f, g, cost, log_a, log_b, eps)
        eps = eps[:, None]
        exponent = (log_a + f / eps)[:, :, None] + (log_b + g / eps)[:, None]
        return (exponent - cost / eps[..., None]).exp(), cost, a, b

    def _update(
        self, f: Tensor, g: Tensor, cost: Tensor, log_a: Tensor, log_b: Tensor, eps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update both potentials once, alternating, at temperatures (B,)."""
        damping = 1.0 if self.reach is None else 1.0 / (1.0 + eps[:, None] / self.reach**2)
        flat, cube = eps[:, None], cost / eps[:, None, None]
        f = -damping * flat * ((log_b + g / flat)[:, None] - cube).logsumexp(2)
        g = -damping * flat * ((log_a + f / flat)[:, :, None] - cube).logsumexp(1)
        return f, g


def transport_contrast(
    own: Tensor,
    by_image: Tensor,
    by_text: Tensor,
    valid: Tensor,
    pairs: Tensor | float,
    temperature: float = 0.02,
) -> Tensor:
    r"""Compute two-way cross-entropies of own pairs against drawn pairs, with logits -OT / t.

    .. math:: L = \frac1N \sum_i \Big[ \mathrm{softplus}\frac{OT_i - OT_{i,text(i)}}{t}
              + \mathrm{softplus}\frac{OT_i - OT_{image(i),i}}{t} \Big]

    The transport of matched pairs alone is minimal (0) if all tokens collapse to one point. There
    this loss is log 2, which is no minimum. UNITER (Chen et al. 2020) and ViLT (Kim et al. 2021)
    subtract the transport of drawn pairs for the same reason.

    Args:
        own: (B,) transport of each study's own text and image.
        by_image: (B,) transport of each image and its drawn text.
        by_text: (B,) transport of each text and its drawn image.
        valid: (2, B) bool, whether the image and the text drew a negative; others are omitted.
        pairs: Number N of valid drawn pairs, the divisor of the sum; without pairs the loss is 0.
            Under DDP: as in :func:`amif_lightning.losses.matching.matching_loss`.
        temperature: t, above 0, in units of the transport cost (0 to 2).
    """
    with torch.autocast(own.device.type, enabled=False):
        own = own.to(torch.promote_types(own.dtype, torch.float32))
        drawn = torch.stack([by_image, by_text]).to(own.dtype)
        terms = F.softplus((own - drawn) / temperature).where(valid, 0.0)
        return terms.sum() / torch.as_tensor(pairs, dtype=own.dtype).clamp_min(LEAST_PAIRS)


def rounded(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Round a plan (B, N, M) to exact marginals (Altschuler, Weed and Rigollet 2017, algorithm 2).

    Rows and columns with too much mass are scaled down. The missing mass is added as the product of
    both shortfalls. ``a`` (B, N) and ``b`` (B, M) are the required row and column sums, of equal
    total.
    """
    tiny = torch.finfo(plan.dtype).tiny
    plan = plan * (a / plan.sum(2).clamp_min(tiny)).clamp_max(1.0)[:, :, None]
    plan = plan * (b / plan.sum(1).clamp_min(tiny)).clamp_max(1.0)[:, None]
    missing_rows = (a - plan.sum(2)).clamp_min(0.0)
    missing_columns = (b - plan.sum(1)).clamp_min(0.0)
    total = missing_rows.sum(1).clamp_min(tiny)[:, None, None]
    return plan + missing_rows[:, :, None] * missing_columns[:, None] / total


def _measure(points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights and unit points of a set."""
    # Padding has weight 0, but a NaN there would spread.
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    points = F.normalize(points.where(mask[..., None], 0.0), dim=-1)
    # An empty set gets weights too, so that its value is finite; the value is dropped later.
    kept = mask | ~mask.any(1, keepdim=True)
    weights = kept.to(points.dtype)
    return weights / weights.sum(1, keepdim=True), points


def _same_grad_mode() -> torch.set_grad_enabled:
    # GeomLoss enables gradients at the end of its schedule, also inside `torch.no_grad()`.
    return torch.set_grad_enabled(torch.is_grad_enabled())
