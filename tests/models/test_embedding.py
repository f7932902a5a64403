"""The vector of a whole image or text: its projected first token, of unit norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from amif_lightning.models.fusion import global_embedding


def test_it_is_the_projected_first_token_of_unit_norm() -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(5, 3).double(), torch.randn(4, 6, 5, dtype=torch.double)
    given = global_embedding(layer, states)
    weights, biases = layer.weight.tolist(), layer.bias.tolist()
    for row, first in zip(given, states[:, 0].tolist(), strict=True):
        raw = [
            sum(w * x for w, x in zip(given_to, first, strict=True)) + bias
            for given_to, bias in zip(weights, biases, strict=True)
        ]
        norm = math.sqrt(sum(value**2 for value in raw))
        assert row.tolist() == pytest.approx([value / norm for value in raw])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_are_single_precision_under_autocast(dtype: torch.dtype) -> None:
    layer, states = nn.Linear(5, 3), torch.randn(4, 6, 5)
    with torch.autocast("cpu", dtype=dtype):
        given = global_embedding(layer, states)
    assert given.dtype == torch.float32
    torch.testing.assert_close(given.norm(dim=1), torch.ones(4))
