"""Unified global alignment: one loss for image and text, view and view, text and text.

Letters used in shapes: G samples of the global batch, D width, T width of the teacher's features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from amif_lightning.losses.alignment import GlobalAlignment, hard_labels, soft_labels

Labels = Literal["soft", "hard"]
Pair = Literal["image_text", "view_view", "text_text"]
PAIRS: tuple[Pair, ...] = ("image_text", "view_view", "text_text")


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
        """The two sides that a pair compares."""
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
        """Labels of both directions of a pair.

        Args:
            pair: Which modalities.
            same: (G, G) bool, samples that say the same.
            teacher: The teacher's features (G, T); needed for soft labels.
            scale: The teacher's logit scale, a natural logarithm.

        Returns:
            Two (G, G): rows of the first modality, rows of the second.

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
        """The unweighted loss of every pair that has a weight, each computed once.

        Args:
            sides: The student's vectors, of unit norm.
            same: (G, G) bool, samples that say the same.
            teacher: The teacher's features; needed for soft labels.
            scale: The teacher's logit scale, a natural logarithm.
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
