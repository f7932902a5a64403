"""Five questions on four images, made by hand, and slow references of the auxiliary losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.batch import Tokens, VQABatch, pad_tokens

#: Token ids: 0 and 2 are equal, and 4 is the beginning of 3.
WORDS = ([2, 7, 8, 3], [2, 9, 3], [2, 7, 8, 3], [2, 9, 10, 11, 3], [2, 9, 10, 3])
#: The row of the image that each question is about.
IMAGE_OF = (0, 0, 1, 2, 3)
#: What each row shows: rows 0 and 2 are one image in two groups.
SHOWN = ("a", "b", "a", "c")


def questions(first: int, last: int) -> VQABatch:
    """Questions ``first`` to ``last`` (exclusive) as one process's batch."""
    rows = IMAGE_OF[first:last]
    return VQABatch(
        images=torch.zeros(len(set(rows)), 3, 1, 1),
        image_index=torch.tensor(rows) - rows[0],
        question=pad_tokens(WORDS[first:last], pad_id=0),
        answer=pad_tokens([[2, 3]] * len(rows), pad_id=0),
        strata=torch.ones(len(rows), 1, dtype=torch.bool),
        image_keys=[SHOWN[row] for row in rows],
    )


def vectors() -> tuple[Tensor, Tensor]:
    """Unit vectors of the four images and the five questions, float64."""
    generator = torch.Generator().manual_seed(3)
    image, question = (torch.randn(n, 6, generator=generator).double() for n in (4, 5))
    return F.normalize(image, dim=1), F.normalize(question, dim=1)


def written(tokens: Tokens) -> list[list[int]]:
    """The token ids of each text, without padding."""
    return [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)]


def slow_alignment(
    image: Tensor,
    question: Tensor,
    shown: Sequence[str],
    words: Sequence[Sequence[int]],
    tau: float,
    smoothing: float,
) -> float:
    """The alignment of questions with their images, pair by pair.

    Args:
        image: (G, D) for each question the vector of its image.
        question: (G, D) vectors of the questions.
        shown: For each question the identity of its image.
        words: For each question its token ids.
        tau: Temperature.
        smoothing: Smoothing of the labels.
    """
    size, total = len(words), 0.0
    for rows, columns in ((image, question), (question, image)):
        for i in range(size):
            same = [shown[i] == shown[j] or words[i] == words[j] for j in range(size)]
            scores = [float(rows[i] @ columns[j]) / tau for j in range(size)]
            top = max(scores)
            log_sum = top + math.log(sum(math.exp(score - top) for score in scores))
            for j in range(size):
                label = (1 - smoothing) * same[j] / sum(same) + smoothing / size
                if label:
                    total += label * (math.log(label) - (scores[j] - log_sum))
    return total / (2 * size)


def slow_transport(x: Tensor, y: Tensor, blur: float, scaling: float) -> float:
    """Entropic transport of (N, D) onto (M, D) along GeomLoss's published schedule, in float64."""
    x, y = F.normalize(x.double(), dim=1), F.normalize(y.double(), dim=1)
    cost = 1 - x @ y.T
    log_a, log_b = -math.log(len(x)), -math.log(len(y))

    def update(f: Tensor, g: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return (
            -eps * (log_b + (g[None] - cost) / eps).logsumexp(1),
            -eps * (log_a + (f[:, None] - cost) / eps).logsumexp(0),
        )

    # From the diameter, which is 2, down to the blur, as squares: the cost is half a square.
    schedule, scale = [4.0], 2.0
    while scale > blur * (1 + 1e-9):
        schedule.append(scale**2)
        scale *= scaling
    schedule.append(blur**2)
    f, g = update(x.new_zeros(len(x)), x.new_zeros(len(y)), schedule[0])
    for eps in schedule:
        new_f, new_g = update(f, g, eps)
        f, g = (f + new_f) / 2, (g + new_g) / 2
    f, g = update(f, g, blur**2)
    return float(f.mean() + g.mean())
