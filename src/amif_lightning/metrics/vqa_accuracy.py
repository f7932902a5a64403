"""Accuracy of answers, overall and by subset."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class VQAAccuracy(Metric):
    """Correct answers and questions per stratum.

    An answer is correct if it equals one of the question's references after normalisation;
    otherwise it is wrong, also if no candidate could be correct. States are integer sums, so any
    number of processes gives the value of one. ``strata`` names the columns of ``membership`` in
    :meth:`update`.

    Example:
        >>> metric = VQAAccuracy(["overall", "closed/answer"])
        >>> metric.update(torch.tensor([True, False]), torch.tensor([[True, True], [True, False]]))
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'overall': 0.5, 'closed/answer': 1.0}
    """

    full_state_update = False
    correct: Tensor
    count: Tensor

    def __init__(self, strata: Sequence[str]) -> None:
        super().__init__()
        self.strata = tuple(strata)
        zeros = torch.zeros(len(self.strata), dtype=torch.long)
        self.add_state("correct", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.clone(), dist_reduce_fx="sum")

    def update(self, correct: Tensor, membership: Tensor) -> None:
        """Add questions: ``correct`` (B,) bool and ``membership`` (B, strata) bool."""
        self.correct += (membership & correct[:, None]).sum(0)
        self.count += membership.sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Return the accuracy in [0, 1] of each stratum with a question."""
        return {
            name: self.correct[i].double() / self.count[i]
            for i, name in enumerate(self.strata)
            if self.count[i] > 0
        }
