"""Global alignment of two modalities with soft or hard labels (paper, unified global alignment).

Letters used in shapes: G samples of the global batch, D width, T width of the teacher's features.
Everything is computed in float32 at least, outside autocast: cosines over a small temperature are
large numbers, of which half precision would keep too few digits.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The temperature's range: 1 is no sharpening of cosines, 0.01 is CLIP's own limit.
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.01, 1.0
# Its power is still a number of single precision, with room for the cosine's rounding.
_GREATEST_SCALE = 80.0


def same_sample(study: Tensor, text: Tensor) -> Tensor:
    """E: pairs of samples that say the same, so that neither is a negative of the other.

    Args:
        study: (G,) long identities of the studies.
        text: (G,) long identities of the normalised texts.

    Returns:
        (G, G) bool, true where the study or the text is equal; true on the diagonal.
    """
    return (study[:, None] == study) | (text[:, None] == text)


def soft_labels(
    first: Tensor, second: Tensor, scale: float, same: Tensor, same_weight: float = 0.01
) -> Tensor:
    r"""Labels from a frozen teacher: how alike the sample in the row and the one in the column are.

    .. math:: q = \mathrm{softmax}(e^{scale}\,\hat u \hat v^\top + \lambda E)

    Args:
        first: (G, T) the teacher's features û of the first modality, of unit norm; or some of the
            rows, with the same rows of ``same``.
        second: (G, T) its features v̂ of the second.
        scale: The teacher's logit scale, a natural logarithm, at most 80.
        same: (G, G) bool E, see :func:`same_sample`.
        same_weight: lambda.

    Returns:
        (G, G) float32 or float64; rows sum to 1.

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
    r"""Labels from identity alone: all samples that say the same share the row's mass.

    .. math:: q_{ij} = (1 - \epsilon) E_{ij} / \sum_k E_{ik} + \epsilon / G

    Args:
        same: (G, G) bool E, see :func:`same_sample`.
        smoothing: epsilon in [0, 1), the mass spread evenly over all samples.

    Returns:
        (G, G) float32; rows sum to 1.

    Raises:
        ValueError: If the smoothing is out of its range.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"expected a smoothing in [0, 1), got {smoothing}")
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

    Returns:
        Scalar of at least 0, float32 or float64.
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
        temperature: tau at the start.

    Raises:
        ValueError: If the temperature is out of its range.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        if not LEAST_TEMPERATURE <= temperature <= GREATEST_TEMPERATURE:
            raise ValueError(f"expected a temperature in [0.01, 1], got {temperature}")
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
        """Student's logits s.

        Args:
            first: (G, D) features u, of unit norm.
            second: (G, D) features v, of unit norm.

        Returns:
            (G, G) float32 or float64.
        """
        with torch.autocast(first.device.type, enabled=False):
            similarity = _at_least_float32(first) @ _at_least_float32(second).T
            return similarity / self.temperature

    def forward(
        self, first: Tensor, second: Tensor, forward: Tensor, backward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss of one pair of modalities over the global batch.

        Args:
            first: (G, D) features u, of unit norm.
            second: (G, D) features v, of unit norm.
            forward: (G, G) labels of the rows of ``first``.
            backward: (G, G) labels of the rows of ``second``.

        Returns:
            The scalar loss and the logits (G, G), which hard negatives are mined from.
        """
        logits = self.logits(first, second)
        return alignment_loss(logits, forward, backward), logits


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
