"""The contrast of transport: its value, its constants, and that it finds a planted patch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.transport import TokenTransport
from amif_lightning.losses.transport_contrast import transport_contrast


def costs(count: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    own, by_image, by_text = torch.rand(3, count, generator=generator, dtype=torch.double)
    valid = torch.rand(2, count, generator=generator) > 0.4
    return own, by_image, by_text, valid


def test_it_is_the_two_way_cross_entropy_of_a_loop() -> None:
    own, by_image, by_text, valid = costs()
    total, count = 0.0, 0
    for i in range(5):
        for side, drawn in enumerate((by_image, by_text)):
            if valid[side, i]:
                right = math.exp(-float(own[i]) / 0.1)
                wrong = math.exp(-float(drawn[i]) / 0.1)
                total -= math.log(right / (right + wrong))
                count += 1
    assert 0 < count < 10
    loss = transport_contrast(own, by_image, by_text, valid, count, 0.1)
    assert float(loss) == pytest.approx(total / count)


def test_the_gradient_is_that_of_the_value() -> None:
    own, by_image, by_text, valid = costs()
    given = [values.requires_grad_() for values in (own, by_image, by_text)]

    def loss(first: Tensor, second: Tensor, third: Tensor) -> Tensor:
        return transport_contrast(first, second, third, valid, 4, 0.3)

    assert torch.autograd.gradcheck(loss, given)


def test_rows_that_drew_none_count_nothing() -> None:
    own, by_image, by_text, _ = costs()
    valid = torch.tensor([[True, False, True, True, False], [True, False, False, True, True]])
    given = [values.requires_grad_() for values in (own, by_image, by_text)]
    loss = transport_contrast(own, by_image, by_text, valid, int(valid.sum()))
    slopes = torch.autograd.grad(loss, given)
    assert float(slopes[0][1]) == 0.0
    assert (slopes[1] != 0).tolist() == valid[0].tolist()
    assert (slopes[2] != 0).tolist() == valid[1].tolist()
    wild = by_image.detach().clone()
    wild[1] = 1e9
    again = transport_contrast(own, wild, by_text, valid, int(valid.sum()))
    assert float(again.detach()) == float(loss.detach())


def test_without_any_draw_it_is_zero_with_a_gradient_of_zero() -> None:
    own, by_image, by_text, valid = costs()
    given = own.requires_grad_()
    loss = transport_contrast(given, by_image, by_text, torch.zeros_like(valid), 0.0)
    (slope,) = torch.autograd.grad(loss, given)
    assert float(loss.detach()) == 0.0
    assert bool((slope == 0).all())


def test_half_precision_and_extreme_costs_stay_finite() -> None:
    own, by_image, by_text, valid = costs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = transport_contrast(own.float(), by_image.float(), by_text.float(), valid, 4)
    assert half.dtype == torch.float32
    far = transport_contrast(own + 2, by_image * 0, by_text * 0, valid, 4, 0.001)
    assert math.isfinite(float(far))


# ---- constants --------------------------------------------------------------------------------


def test_constant_tokens_are_the_minimum_of_matched_and_none_of_the_contrast() -> None:
    point = F.normalize(torch.ones(8, dtype=torch.double), dim=0)
    words, patches = point.expand(4, 3, 8), point.expand(4, 9, 8)
    every = torch.ones(4, 3, dtype=torch.bool), torch.ones(4, 9, dtype=torch.bool)
    own = TokenTransport()(words, patches, *every)
    assert own.abs().max() < 1e-9
    valid = torch.ones(2, 4, dtype=torch.bool)
    assert float(transport_contrast(own, own, own, valid, 8)) == pytest.approx(math.log(2))


# ---- a planted toy ----------------------------------------------------------------------------

WIDTH, WORDS, SAID, PATCHES, STUDIES = 16, 10, 5, 9, 32
STEPS = 200


class Toy:
    """Studies of five of ten words; one patch of the image holds the first word, turned."""

    def __init__(self, contextual: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        table = F.normalize(torch.randn(WORDS, WIDTH, generator=generator), dim=1)
        turn, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))
        self.said = torch.stack(
            [torch.randperm(WORDS, generator=generator)[:SAID] for _ in range(STUDIES)]
        )
        self.place = torch.randint(0, PATCHES, (STUDIES,), generator=generator)
        self.words = table[self.said]
        if contextual:  # every word knows the whole report
            self.words = self.words.mean(1, keepdim=True).expand(-1, SAID, -1).contiguous()
        self.patches = 0.3 * torch.randn(STUDIES, PATCHES, WIDTH, generator=generator)
        rows = torch.arange(STUDIES)
        self.patches[rows, self.place] = table[self.said[:, 0]] @ turn
        torch.manual_seed(1)
        self.text, self.image = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.transport = TokenTransport()
        self.generator = generator

    def tokens(self) -> tuple[Tensor, Tensor]:
        return self.text(self.words), self.image(self.patches)

    def moved(self, texts: Tensor, images: Tensor) -> Tensor:
        words, patches = self.tokens()
        masks = torch.ones(len(texts), SAID).bool(), torch.ones(len(texts), PATCHES).bool()
        values: Tensor = self.transport(words[texts], patches[images], *masks)
        return values

    def train(self, contrast: bool) -> list[float]:
        parameters = [*self.text.parameters(), *self.image.parameters()]
        optimizer = torch.optim.Adam(parameters, 1e-2)
        rows, losses = torch.arange(STUDIES), []
        for _ in range(STEPS):
            own = self.moved(rows, rows)
            if contrast:
                shift = int(torch.randint(1, STUDIES, (), generator=self.generator))
                others = rows.roll(shift)
                loss = transport_contrast(
                    own,
                    self.moved(others, rows),
                    self.moved(rows, others),
                    torch.ones(2, STUDIES, dtype=torch.bool),
                    2 * STUDIES,
                    0.05,
                )
            else:
                loss = own.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    @torch.no_grad()
    def planted(self) -> float:
        """Share of the first word's mass on its patch, over an even share."""
        words, patches = self.tokens()
        masks = torch.ones(STUDIES, SAID).bool(), torch.ones(STUDIES, PATCHES).bool()
        plan, _ = self.transport.plan(words, patches, *masks)
        rows = torch.arange(STUDIES)
        shares = plan[rows, 0, self.place] / plan[rows, 0].sum(1)
        return float(shares.mean()) * PATCHES

    @torch.no_grad()
    def cosine(self) -> float:
        """Mean cosine of the words and patches of different studies."""
        words, patches = (F.normalize(side, dim=2).mean(1) for side in self.tokens())
        return float((words @ patches.T)[~torch.eye(STUDIES, dtype=torch.bool)].mean())


def test_contrast_finds_the_planted_patch_and_matched_collapses() -> None:
    toy = Toy(contextual=False)
    losses = toy.train(contrast=True)
    # A word has a fifth of the mass and a patch a ninth, so five times an even share is the most.
    assert toy.planted() > 3
    assert toy.cosine() < 0.5
    assert losses[-1] < 0.5 * losses[0]
    alone = Toy(contextual=False)
    alone.train(contrast=False)
    assert alone.cosine() > 0.95
    assert alone.planted() < 0.5 * toy.planted()


def test_words_in_context_are_told_apart_and_point_nowhere() -> None:
    """The choice of tokens localises, not the loss."""
    toy = Toy(contextual=True)
    losses = toy.train(contrast=True)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert toy.planted() < 1.5
