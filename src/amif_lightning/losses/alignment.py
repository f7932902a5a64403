"""Unified global alignment of images, views and texts with soft or hard labels (paper).

G samples of the global batch, D width, T width of the teacher's features. Losses are computed in
float32 or float64, outside autocast, because a small temperature magnifies rounding errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Range of the temperature: 1 does not sharpen cosines, 0.01 is CLIP's limit.
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.01, 1.0
# exp(80) is still finite in float32.
_GREATEST_SCALE = 80.0

Labels = Literal["soft", "hard"]
Pair = Literal["image_text", "view_view", "text_text"]
PAIRS: tuple[Pair, ...] = ("image_text", "view_view", "text_text")


def same_sample(study: Tensor, text: Tensor) -> Tensor:
    """Return E (G, G) bool: equal study or equal text identity, both (G,) long; no negatives."""
    return (study[:, None] == study) | (text[:, None] == text)


def soft_labels(
    first: Tensor, second: Tensor, scale: float, same: Tensor, same_weight: float = 0.01
) -> Tensor:
    r"""Compute labels (G, G) from a frozen teacher's similarities; rows sum to 1.

    .. math:: q = \mathrm{softmax}(e^{scale}\,\hat u \hat v^\top + \lambda E)

    û and v̂ are the teacher's unit features (G, T) ``first`` and ``second``, E is ``same`` (see
    :func:`same_sample`) and lambda is ``same_weight``. ``first`` and ``same`` may hold the same
    subset of rows. ``scale`` is the teacher's logit scale, a natural logarithm of at most 80.

    Raises:
        ValueError: If the scale is too large (such as the factor itself) or not finite.
    """
    if not (math.isfinite(scale) and scale <= _GREATEST_SCALE):
        raise ValueError(
            f"expected the natural logarithm of the cosines' factor as scale, at most "
            f"{_GREATEST_SCALE:.0f}, got {scale}"
        )
    with torch.autocast(first.device.type, enabled=False):
        first, second = _at_least_float32(first), _at_least_float32(second)
        logits = math.exp(scale) * first @ second.T + same_weight * same.to(first.dtype)
        return logits.softmax(1)


def hard_labels(same: Tensor, smoothing: float = 0.1) -> Tensor:
    r"""Compute labels (G, G) from identity; positives share the mass of their row.

    .. math:: q_{ij} = (1 - \epsilon) E_{ij} / \sum_k E_{ik} + \epsilon / G

    E is ``same`` (see :func:`same_sample`) and epsilon is ``smoothing``, in [0, 1).
    """
    positive = same.float()
    return (1 - smoothing) * positive / positive.sum(1, keepdim=True) + smoothing / len(same)


def alignment_loss(logits: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    r"""Compute the mean over both directions of KL(labels || softmax of the logits).

    .. math:: L = \tfrac{1}{2G} \sum_i \big[ KL(q_i \| \mathrm{softmax}(s_{i\cdot}))
              + KL(q'_i \| \mathrm{softmax}(s_{\cdot i})) \big]

    s (G, G) are the student's logits with the first modality in rows. q and q' (G, G) are the
    labels ``forward`` of the first and ``backward`` of the second modality; their rows sum to 1.
    With one-hot labels this is the symmetric InfoNCE loss of CLIP.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = _at_least_float32(logits)
        directions = [
            F.kl_div(scores.log_softmax(1), labels.to(scores.dtype), reduction="batchmean")
            for scores, labels in ((logits, forward), (logits.T, backward))
        ]
        return (directions[0] + directions[1]) / 2


class GlobalAlignment(nn.Module):
    """Alignment loss of one pair of modalities, with logits s = u v^T / tau.

    Args:
        temperature: Initial value of the learned temperature tau, kept in [0.01, 1].
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    @property
    def temperature(self) -> Tensor:
        """Return the scalar tau."""
        return self.log_temperature.exp()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Clamp tau to its range; call after every optimizer step.

        Clamped in the forward pass, tau would have no gradient and could not return to its range.
        """
        self.log_temperature.clamp_(math.log(LEAST_TEMPERATURE), math.log(GREATEST_TEMPERATURE))

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the student's logits s (G, G) of unit features u and v (G, D)."""
        with torch.autocast(first.device.type, enabled=False):
            similarity = _at_least_float32(first) @ _at_least_float32(second).T
            return similarity / self.temperature

    def forward(
        self, first: Tensor, second: Tensor, forward: Tensor, backward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss, and the logits (G, G) for mining hard negatives.

        ``first`` and ``second`` are unit features (G, D). ``forward`` and ``backward`` are the
        labels (G, G) of their rows.
        """
        logits = self.logits(first, second)
        return alignment_loss(logits, forward, backward), logits


@dataclass(frozen=True)
class Sides:
    """One vector for each sample and modality."""

    first: Tensor  # (G, D) of view 1
    second: Tensor  # (G, D) of view 2
    text: Tensor  # (G, D) of the report
    # (G, D) of the report in another dropout pass, for hard labels; None: compare text with itself
    text_again: Tensor | None = None

    def of(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Return both sides of a pair."""
        again = self.text if self.text_again is None else self.text_again
        return {
            "image_text": (self.first, self.text),
            "view_view": (self.first, self.second),
            "text_text": (self.text, again),
        }[pair]


@dataclass(frozen=True)
class Aligned:
    """Losses of one batch, and the logits and labels of images and texts for mining."""

    losses: dict[Pair, Tensor]  # unweighted, for every pair with a weight
    logits: Tensor | None  # (G, G) student's; None if the image-text pair has no weight
    labels: tuple[Tensor, Tensor] | None  # (G, G) of images and of texts; None likewise


class UnifiedAlignment(nn.Module):
    """Alignment of all pairs of modalities, each pair with its own weight and temperature.

    Args:
        labels: ``soft``: similarities of a teacher; ``hard``: identity of study or text.
        image_text: Weight of view 1 against the report. A weight of 0 omits a pair.
        view_view: Weight of view 1 against view 2.
        text_text: Weight of the report against itself.
        same_weight: lambda, added to the teacher's logits of equal samples.
        smoothing: Smoothing of hard labels.
        temperature: Initial temperature of every pair.
    """

    def __init__(
        self,
        labels: Labels = "soft",
        image_text: float = 1.0,
        view_view: float = 1.0,
        text_text: float = 1.0,
        same_weight: float = 0.01,
        smoothing: float = 0.1,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.kind, self.same_weight, self.smoothing = labels, same_weight, smoothing
        self.weights: dict[Pair, float] = {
            "image_text": image_text,
            "view_view": view_view,
            "text_text": text_text,
        }
        self.pairs = nn.ModuleDict(
            {pair: GlobalAlignment(temperature) for pair in PAIRS if self.weights[pair]}
        )

    def labels(
        self, pair: Pair, same: Tensor, teacher: Sides | None, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Compute the labels (G, G) of both modalities' rows; ``same`` is (G, G) bool.

        ``teacher`` holds the teacher's features (G, T) and ``scale`` its logit scale, a natural
        logarithm. Hard labels use neither.

        Raises:
            ValueError: If soft labels have no teacher.
        """
        if self.kind == "hard":
            labels = hard_labels(same, self.smoothing)
            return labels, labels
        if teacher is None:
            raise ValueError("soft labels need a teacher's features, and the batch has none")
        first, second = teacher.of(pair)
        forward = soft_labels(first, second, scale, same, self.same_weight)
        if first is second:  # a text against itself
            return forward, forward
        return forward, soft_labels(second, first, scale, same, self.same_weight)

    def forward(
        self, sides: Sides, same: Tensor, teacher: Sides | None, scale: float = 0.0
    ) -> Aligned:
        """Compute the losses of the student's unit vectors; other arguments: :meth:`labels`."""
        losses: dict[Pair, Tensor] = {}
        kept: tuple[Tensor | None, tuple[Tensor, Tensor] | None] = None, None
        for pair in PAIRS:
            if pair in self.pairs:
                labels = self.labels(pair, same, teacher, scale)
                losses[pair], logits = self.pairs[pair](*sides.of(pair), *labels)
                if pair == "image_text":
                    kept = logits.detach(), labels
        return Aligned(losses, *kept)

    def clamp_(self) -> None:
        """Clamp all temperatures to their range; call after every optimizer step."""
        for module in self.pairs.values():
            assert isinstance(module, GlobalAlignment)
            module.clamp_()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
