"""How far a model's distribution over a whole split is from its teacher's."""

from __future__ import annotations

import torch.nn.functional as F

from amif_lightning.losses.alignment import soft_labels
from amif_lightning.metrics.retrieval import ROWS
from amif_lightning.metrics.study_features import SplitFeatures


def teacher_divergence(
    features: SplitFeatures, temperature: float, scale: float, same_weight: float = 0.01
) -> float:
    r"""Mean of KL(teacher || model) over studies and both directions, in nats.

    .. math:: \tfrac{1}{2N} \sum_i KL(q_i \| \mathrm{softmax}(s_{i\cdot}))
              + KL(q'_i \| \mathrm{softmax}(s_{\cdot i}))

    The image-text loss with soft labels, over the whole split instead of a batch; so it grows with
    the split, and only values over the same split compare.

    Args:
        features: The split's features, with the teacher's.
        temperature: The model's temperature tau.
        scale: The teacher's logit scale, a natural logarithm.
        same_weight: lambda, what equal samples add to the teacher's logits.

    Raises:
        ValueError: If the features hold no teacher's.
    """
    if features.teacher_image is None or features.teacher_text is None:
        raise ValueError("the features hold no teacher's")
    image, text = features.image.double(), features.text.double()
    teacher_image, teacher_text = features.teacher_image.double(), features.teacher_text.double()
    total = 0.0
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        same = (features.study[rows, None] == features.study) | (
            features.text_id[rows, None] == features.text_id
        )
        for own, other, own_teacher, other_teacher in (
            (image, text, teacher_image, teacher_text),
            (text, image, teacher_text, teacher_image),
        ):
            labels = soft_labels(own_teacher[rows], other_teacher, scale, same, same_weight)
            scores = (own[rows] @ other.T / temperature).log_softmax(1)
            total += float(F.kl_div(scores, labels, reduction="sum"))
    return total / (2 * len(features))
