"""The matching head, and which tokens are words."""

from __future__ import annotations

import torch

from amif_lightning.models.matching import MatchingHead, inner_words


def test_words_are_what_lies_between_begin_and_end() -> None:
    lengths = torch.tensor([6, 4, 3, 2])  # [CLS] words [SEP]; the last text is empty
    mask = torch.arange(6) < lengths[:, None]
    assert inner_words(mask).tolist() == [
        [False, True, True, True, True, False],
        [False, True, True, False, False, False],
        [False, True, False, False, False, False],
        [False] * 6,
    ]
    assert int(mask.sum()) == 15  # the given mask is left as it is
    assert not inner_words(torch.zeros(2, 3, dtype=torch.bool)).any()


def test_the_head_reads_the_first_token_of_both_streams_only() -> None:
    torch.manual_seed(0)
    head = MatchingHead(4)
    words, patches = torch.randn(3, 5, 4), torch.randn(3, 7, 4)
    scores = head(words, patches)
    weight, bias = head.score.weight, head.score.bias
    by_hand = words[:, 0] @ weight[:, :4].T + patches[:, 0] @ weight[:, 4:].T + bias
    torch.testing.assert_close(scores, by_hand)
    for changed in (
        head(words + 100 * _after_first(5), patches),
        head(words, patches + 100 * _after_first(7)),
    ):
        torch.testing.assert_close(changed, scores)
    assert not torch.allclose(head(words * 2, patches), scores)
    assert not torch.allclose(head(words, patches * 2), scores)


def _after_first(length: int) -> torch.Tensor:
    return (torch.arange(length) > 0).float()[None, :, None]
