"""Unified global alignment of images, views and texts with soft or hard labels (paper).

Letters used in shapes: G samples of the global batch, D width, T width of the teacher's features.
Everything is computed in float32 at least, outside autocast: cosines over a small temperature are
large numbers, of which half precision would keep too few digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The temperature's range: 1 is no sharpening of cosines, 0.01 is CLIP's own limit.
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.01, 1.0
# Its power is still a number of single precision, with room for the cosine's rounding.
_GREATEST_SCALE = 80.0

Labels = Literal["soft", "hard"]
Pair = Literal["image_text", "view_view", "text_text"]
PAIRS: tuple[Pair, ...] = ("image_text", "view_view", "text_text")


def same_sample(study: Tensor, text: Tensor) -> Tensor:
    """E (G, G) bool: pairs of equal study or equal text, of which neither is a negative.

    Args:
        study: (G,) long identities of the studies.
        text: (G,) long identities of the normalised texts.
    """
    return (study[:, None] == study) | (text[:, None] == text)


def soft_labels(
    first: Tensor, second: Tensor, scale: float, same: Tensor, same_weight: float = 0.01
) -> Tensor:
    r"""Labels (G, G) from a frozen teacher: how alike two samples are; rows sum to 1.

    .. math:: q = \mathrm{softmax}(e^{scale}\,\hat u \hat v^\top + \lambda E)

    Args:
        first: (G, T) the teacher's features û of the first modality, of unit norm; or some of the
            rows, with the same rows of ``same``.
        second: (G, T) its features v̂ of the second.
        scale: The teacher's logit scale, a natural logarithm, at most 80.
        same: (G, G) bool E, see :func:`same_sample`.
        same_weight: lambda.

    Raises:
        ValueError: If the scale is not finite or too great, as when the factor itself is given.
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
    r"""Labels (G, G) from identity alone: samples that say the same share the row's mass.

    .. math:: q_{ij} = (1 - \epsilon) E_{ij} / \sum_k E_{ik} + \epsilon / G

    Args:
        same: (G, G) bool E, see :func:`same_sample`.
        smoothing: epsilon in [0, 1), the mass spread evenly over all samples.
    """
    positive = same.float()
    return (1 - smoothing) * positive / positive.sum(1, keepdim=True) + smoothing / len(same)


def alignment_loss(logits: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    r"""Mean over both directions of KL(labels || softmax of the logits).

    .. math:: L = \tfrac{1}{2G} \sum_i \big[ KL(q_i \| \mathrm{softmax}(s_{i\cdot}))
              + KL(q'_i \| \mathrm{softmax}(s_{\cdot i})) \big]

    With one-hot labels this is the symmetric InfoNCE loss of CLIP.

    Args:
        logits: (G, G) student's logits s, first modality in rows.
        forward: (G, G) labels q of the first modality's samples; rows sum to 1.
        backward: (G, G) labels q' of the second modality's samples; rows sum to 1.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = _at_least_float32(logits)
        directions = [
            F.kl_div(scores.log_softmax(1), labels.to(scores.dtype), reduction="batchmean")
            for scores, labels in ((logits, forward), (logits.T, backward))
        ]
        return (directions[0] + directions[1]) / 2


class GlobalAlignment(nn.Module):
    r"""One loss for any pair of modalities: two views, an image and a text, two texts.

    .. math:: s = u v^\top / \tau

    The temperature tau is learned; it stays in [0.01, 1] (:meth:`clamp_`).

    Args:
        temperature: tau at the start, in that range.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    @property
    def temperature(self) -> Tensor:
        """Scalar tau."""
        return self.log_temperature.exp()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring tau back into its range; to be called after every optimizer step.

        Not in the forward pass: a clamped value has no gradient and would never come back.
        """
        self.log_temperature.clamp_(math.log(LEAST_TEMPERATURE), math.log(GREATEST_TEMPERATURE))

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """Student's logits s (G, G) of unit features u and v (G, D); float32 or float64."""
        with torch.autocast(first.device.type, enabled=False):
            similarity = _at_least_float32(first) @ _at_least_float32(second).T
            return similarity / self.temperature

    def forward(
        self, first: Tensor, second: Tensor, forward: Tensor, backward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss of one pair of modalities, and the logits (G, G) that hard negatives are mined from.

        Args:
            first: (G, D) features u, of unit norm.
            second: (G, D) features v, of unit norm.
            forward: (G, G) labels of the rows of ``first``.
            backward: (G, G) labels of the rows of ``second``.
        """
        logits = self.logits(first, second)
        return alignment_loss(logits, forward, backward), logits


@dataclass(frozen=True)
class Sides:
    """One vector for each sample and modality.

    Attributes:
        first: (G, D) of view 1.
        second: (G, D) of view 2.
        text: (G, D) of the report.
        text_again: (G, D) of the report in another dropout pass, which hard labels are compared
            with; None with soft labels, where the text is compared with itself.
    """

    first: Tensor
    second: Tensor
    text: Tensor
    text_again: Tensor | None = None

    def of(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Return the two sides that a pair compares."""
        again = self.text if self.text_again is None else self.text_again
        return {
            "image_text": (self.first, self.text),
            "view_view": (self.first, self.second),
            "text_text": (self.text, again),
        }[pair]


@dataclass(frozen=True)
class Aligned:
    """The losses of one batch, and what they were computed from where mining needs it again.

    Attributes:
        losses: The unweighted loss of every pair that has a weight.
        logits: (G, G) student's logits of image and text; None where that pair has no weight.
        labels: (G, G) labels of images and of texts; None where that pair has no weight.
    """

    losses: dict[Pair, Tensor]
    logits: Tensor | None
    labels: tuple[Tensor, Tensor] | None


class UnifiedAlignment(nn.Module):
    """All pairs of modalities under one loss, each with its own weight and temperature.

    Args:
        labels: ``soft``: a teacher says how alike two samples are; ``hard``: only samples that say
            the same are alike.
        image_text: Weight of view 1 against the report; 0 leaves the pair out.
        view_view: Weight of view 1 against view 2; 0 leaves the pair out.
        text_text: Weight of the report against itself; 0 leaves the pair out.
        same_weight: lambda, what equal samples add to the teacher's logits.
        smoothing: Smoothing of hard labels.
        temperature: Temperature of every pair at the start.
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
        """Labels (G, G) of the first modality's rows and of the second's.

        Args:
            pair: Which modalities.
            same: (G, G) bool, samples that say the same.
            teacher: The teacher's features (G, T); needed for soft labels.
            scale: The teacher's logit scale, a natural logarithm.

        Raises:
            ValueError: If soft labels are asked for without a teacher.
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
        """Compute the loss of every pair that has a weight, once.

        Args:
            sides: The student's vectors, of unit norm.
            same: As for :meth:`labels`.
            teacher: As for :meth:`labels`.
            scale: As for :meth:`labels`.
        """
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
        """Bring all temperatures back into their range; after every optimizer step."""
        for module in self.pairs.values():
            assert isinstance(module, GlobalAlignment)
            module.clamp_()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
