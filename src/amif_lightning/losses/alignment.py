"""Unified global alignment of images, views and texts with soft or hard labels (paper).

G samples of the global batch, D width, T width of the teacher's features. All losses are computed
in float32 or float64, outside autocast: cosines divided by a small temperature need the digits.
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
    """Return E (G, G) bool, true for pairs that are no negatives: equal study or equal text.

    Args:
        study: (G,) long identities of the studies.
        text: (G,) long identities of the normalised texts.
    """
    return (study[:, None] == study) | (text[:, None] == text)


def soft_labels(
    first: Tensor, second: Tensor, scale: float, same: Tensor, same_weight: float = 0.01
) -> Tensor:
    r"""Compute labels (G, G) from a frozen teacher's similarities; rows sum to 1.

    .. math:: q = \mathrm{softmax}(e^{scale}\,\hat u \hat v^\top + \lambda E)

    Args:
        first: (G, T) the teacher's unit features û of the first modality; or some of the rows, with
            the same rows of ``same``.
        second: (G, T) the teacher's unit features v̂ of the second modality.
        scale: The teacher's logit scale, a natural logarithm, at most 80.
        same: (G, G) bool E, see :func:`same_sample`.
        same_weight: lambda.

    Raises:
        ValueError: If the scale is not finite or too large, such as the factor itself.
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
    r"""Compute labels (G, G) from identity: equal samples share the row's mass.

    .. math:: q_{ij} = (1 - \epsilon) E_{ij} / \sum_k E_{ik} + \epsilon / G

    Args:
        same: (G, G) bool E, see :func:`same_sample`.
        smoothing: epsilon in [0, 1), the mass spread evenly over all samples.
    """
    positive = same.float()
    return (1 - smoothing) * positive / positive.sum(1, keepdim=True) + smoothing / len(same)


def alignment_loss(logits: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    r"""Compute the mean over both directions of KL(labels || softmax of the logits).

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
    r"""Alignment loss of one pair of modalities with a learned temperature tau in [0.01, 1].

    .. math:: s = u v^\top / \tau

    Args:
        temperature: Initial tau.
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
        """Clamp tau to its range; call after every optimizer step.

        In the forward pass, a clamped value would have no gradient and would never return.
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

        Args:
            first: (G, D) unit features u.
            second: (G, D) unit features v.
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
        text_again: (G, D) of the report in another dropout pass, for hard labels; None: compare the
            text with itself.
    """

    first: Tensor
    second: Tensor
    text: Tensor
    text_again: Tensor | None = None

    def of(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Return the two sides of a pair."""
        again = self.text if self.text_again is None else self.text_again
        return {
            "image_text": (self.first, self.text),
            "view_view": (self.first, self.second),
            "text_text": (self.text, again),
        }[pair]


@dataclass(frozen=True)
class Aligned:
    """The losses of one batch, with the image-text logits and labels for mining.

    Attributes:
        losses: The unweighted loss of every pair with a weight.
        logits: (G, G) student's logits of image and text; None if that pair has no weight.
        labels: (G, G) labels of images and of texts; None if that pair has no weight.
    """

    losses: dict[Pair, Tensor]
    logits: Tensor | None
    labels: tuple[Tensor, Tensor] | None


class UnifiedAlignment(nn.Module):
    """All pairs of modalities under one loss, each with its own weight and temperature.

    Args:
        labels: ``soft``: similarities of a teacher; ``hard``: identity of study or text.
        image_text: Weight of view 1 against the report; 0 omits the pair.
        view_view: Weight of view 1 against view 2; 0 omits the pair.
        text_text: Weight of the report against itself; 0 omits the pair.
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
        """Compute the labels (G, G) of the first modality's rows and of the second's.

        Args:
            pair: The modalities.
            same: (G, G) bool, see :func:`same_sample`.
            teacher: The teacher's features (G, T); required for soft labels.
            scale: The teacher's logit scale, a natural logarithm.

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
        """Compute the loss of every pair with a weight from the student's unit vectors.

        Other arguments are those of :meth:`labels`.
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
        """Clamp all temperatures to their range; call after every optimizer step."""
        for module in self.pairs.values():
            assert isinstance(module, GlobalAlignment)
            module.clamp_()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
