"""Occlusion maps: hidden squares, and mean falls of the likelihood over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from amif_lightning.inference import occlusion as module
from amif_lightning.inference.occlusion import CELLS, WINDOW, hide, log_likelihood, occlusion
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.single_question import Asked, ask, inputs_of
from tests.inference.conftest import Saved


def test_a_hidden_square_has_the_mean_colour_and_the_rest_is_unchanged() -> None:
    image = torch.rand(3, 20, 40)  # cells of 2.5 x 5 pixels
    painted = hide(image, 1, 6)
    inside = torch.zeros(20, 40, dtype=torch.bool)
    inside[2:8, 30:40] = True  # from 2.5 and to 7.5, rounded to even
    assert torch.equal(painted[:, ~inside], image[:, ~inside])
    mean = image.mean((1, 2), keepdim=True)
    assert torch.equal(painted[:, inside], mean.expand_as(image)[:, inside])


def test_the_map_holds_mean_falls_over_the_squares_that_cover_a_cell(
    saved: Saved, restored: AMiFVQA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A likelihood that depends on known cells of the image is mapped to these cells."""
    inputs = inputs_of(restored, [Asked(saved.data.file_of(saved.data.splits.test[0]), "side?")])
    whole = inputs.images[0]
    side = whole.shape[1] // CELLS
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(CELLS, CELLS))

    def fake(task: AMiFVQA, question: object, images: Tensor, answer: str) -> Tensor:
        assert answer == "left"
        changed = (images != whole).any(1).double()
        share = changed.unflatten(1, (CELLS, side)).unflatten(3, (CELLS, side)).mean((2, 4))
        return -(share * torch.from_numpy(weight)).sum((1, 2))

    monkeypatch.setattr(module, "log_likelihood", fake)
    found = occlusion(restored, inputs, "left").reshape(CELLS, CELLS)
    expected = np.zeros((CELLS, CELLS))
    for row in range(CELLS):
        for column in range(CELLS):
            falls = [
                weight[top : top + WINDOW, left : left + WINDOW].sum()
                for top in range(max(row - 1, 0), min(row, CELLS - WINDOW) + 1)
                for left in range(max(column - 1, 0), min(column, CELLS - WINDOW) + 1)
            ]
            expected[row, column] = max(np.mean(falls), 0)
    assert found == pytest.approx(expected, abs=1e-6)
    assert (expected == 0).any()


def test_the_likelihood_is_that_of_the_ranking(saved: Saved, restored: AMiFVQA) -> None:
    asked = Asked(saved.data.file_of(saved.data.splits.test[0]), "is there a nodule?")
    inputs = inputs_of(restored, [asked])
    (answered,) = ask(restored, [asked], 3)
    for one in answered.answers:
        images = inputs.images.repeat(2, 1, 1, 1)
        values = log_likelihood(restored, inputs.tokens, images, one.answer)
        assert values.exp().tolist() == pytest.approx([one.probability] * 2, rel=1e-4)
