"""Draws of negatives, and fusion and scores of own and drawn pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from amif_lightning.losses.matching import negative_log_weights
from amif_lightning.models.fusion import CoAttention, EncodedPair, MatchingHead
from amif_lightning.tasks.pretraining.mining import (
    Drawn,
    draw_for_rank,
    even_log_weights,
    fuse_drawn,
    hard_log_weights,
    score_pairs,
)

B, L, P1, WIDTH = 64, 12, 65, 64


def small_streams(fusion: CoAttention, lengths: tuple[int, ...] = (3, 6, 4, 5)) -> EncodedPair:
    """As many pairs as there are lengths of texts."""
    generator = torch.Generator().manual_seed(0)
    count, longest = len(lengths), max(lengths)
    text = torch.randn(count, longest, 8, generator=generator)
    image = torch.randn(count, 5, 8, generator=generator)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    words, patches = fusion(text, mask, image)
    return EncodedPair(text, image, words, patches, mask)


def small_parts() -> tuple[CoAttention, MatchingHead]:
    torch.manual_seed(0)
    return CoAttention(8, 8, 8, 1, 2, 0.0), MatchingHead(8)


def test_gradients_of_repeated_rows_are_the_same_every_time(two_threads: None) -> None:
    """Few rows are drawn often: their gradients are sums, whose order threads could change."""
    torch.manual_seed(0)
    text = torch.randn(B, L, WIDTH, requires_grad=True)
    image = torch.randn(B, P1, WIDTH, requires_grad=True)
    mask, valid = torch.ones(B, L, dtype=torch.bool), torch.ones(2, B, dtype=torch.bool)
    texts, images = torch.randint(0, 4, (2, B))
    own, drawn = EncodedPair(text, image, text, image, mask), Drawn(texts, images, valid)
    slopes = torch.randn(2 * B, L, WIDTH), torch.randn(2 * B, P1, WIDTH)

    class Unfused(nn.Module):
        def forward(self, text: Tensor, mask: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
            return text, image

    def gradients() -> bytes:
        fused = fuse_drawn(Unfused(), own, drawn)
        found = torch.autograd.grad((fused.words, fused.patches), (text, image), slopes)
        return b"".join(part.numpy().tobytes() for part in found)

    assert len({gradients() for _ in range(12)}) == 1


def test_drawn_pairs_are_fused_as_if_alone() -> None:
    fusion, _ = small_parts()
    own = small_streams(fusion)
    drawn = Drawn(
        torch.tensor([1, 0, 1, 2]), torch.tensor([3, 3, 0, 1]), torch.ones(2, 4, dtype=torch.bool)
    )
    negatives = fuse_drawn(fusion, own, drawn)
    texts, images = [1, 0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 3, 3, 0, 1]
    for row, (text, image) in enumerate(zip(texts, images, strict=True)):
        length = int(own.mask[text].sum())
        assert torch.equal(negatives.mask[row], own.mask[text])
        words, patches = fusion(
            own.text[[text], :length], torch.ones(1, length, dtype=torch.bool), own.image[[image]]
        )
        torch.testing.assert_close(negatives.words[row, :length], words[0])
        torch.testing.assert_close(negatives.patches[row], patches[0])


def test_the_loss_and_the_accuracy_are_means_over_the_pairs_that_there_are() -> None:
    fusion, head = small_parts()
    own = small_streams(fusion)
    valid = torch.tensor([[True, False, True, True], [False, True, True, False]])
    drawn = Drawn(torch.tensor([1, 0, 1, 2]), torch.tensor([3, 3, 0, 1]), valid)
    negatives = fuse_drawn(fusion, own, drawn)
    loss, health = score_pairs(head, own, negatives, drawn)
    total, right, count = 0.0, 0, 0
    for encoded, label, kept in ((own, 1, [True] * 4), (negatives, 0, valid.flatten().tolist())):
        for row, counts in enumerate(kept):
            if counts:
                scores = head(encoded.words[[row]], encoded.patches[[row]])[0]
                total -= float(scores.log_softmax(0)[label].detach())
                right += int(scores.argmax()) == label
                count += 1
    assert count == 9
    assert float(loss.detach()) == pytest.approx(total / count, rel=1e-5)
    assert float(health["matching_accuracy"]) == pytest.approx(right / count)
    assert float(health["drawn_share"]) == pytest.approx(5 / 8)


# ---- the draw -----------------------------------------------------------------------------------


def some_pairs() -> Tensor:
    same = torch.eye(5, dtype=torch.bool)
    same[1, 3] = same[3, 1] = True
    return same


def test_hard_weights_are_those_of_both_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 5, generator=generator, dtype=torch.double)
    forward, backward = torch.randn(2, 5, 5, generator=generator, dtype=torch.double).softmax(2)
    images, texts = hard_log_weights(logits, (forward, backward), some_pairs(), 0.8, 0.3)
    for row in range(5):
        alone = negative_log_weights(logits, forward, some_pairs(), 0.8, 0.3)[row]
        torch.testing.assert_close(images[row], alone)
        # A text compares the images of its own column.
        turned = negative_log_weights(logits.T, backward, some_pairs(), 0.8, 0.3)[row]
        torch.testing.assert_close(texts[row], turned)
    assert not torch.allclose(images, texts.T)


def test_both_directions_and_all_steps_draw_apart() -> None:
    size = 30
    weights = even_log_weights(torch.eye(size, dtype=torch.bool))
    found = set()
    for step in range(4):
        drawn = draw_for_rank(weights, seed=0, step=step)
        found |= {tuple(drawn.texts.tolist()), tuple(drawn.images.tolist())}
    assert len(found) == 8
    again = draw_for_rank(weights, seed=0, step=3)
    assert torch.equal(again.texts, drawn.texts)
    assert not torch.equal(draw_for_rank(weights, seed=1, step=3).texts, drawn.texts)


def test_the_order_of_the_batch_does_not_matter_to_the_draw() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(5, 5, generator=generator)
    study, order = torch.tensor([40, 7, 90, 3, 21]), torch.tensor([4, 2, 0, 3, 1])
    for step in range(10):
        drawn = draw_for_rank((table, table.T), seed=0, step=step, study=study)
        moved = table[order][:, order]
        again = draw_for_rank((moved, moved.T), seed=0, step=step, study=study[order])
        for mine, theirs in ((drawn.texts, again.texts), (drawn.images, again.images)):
            assert torch.equal(study[mine][order], study[order][theirs])


def test_a_sample_without_another_draws_none() -> None:
    drawn = draw_for_rank(even_log_weights(torch.ones(1, 1, dtype=torch.bool)), seed=0, step=0)
    assert not drawn.valid.any()
    assert float(drawn.pairs()) == 0.0
    assert float(drawn.pairs(own=1)) == 1.0
