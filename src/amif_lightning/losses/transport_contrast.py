"""Transport of own pairs against that of drawn pairs, which does not collapse.

Letters used in shapes: B studies of this process.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.matching import LEAST_PAIRS


def transport_contrast(
    own: Tensor,
    by_image: Tensor,
    by_text: Tensor,
    valid: Tensor,
    pairs: Tensor | float,
    temperature: float = 0.02,
) -> Tensor:
    r"""Two-way cross-entropy of the own pair against the drawn one, with -OT / t as logits.

    .. math:: L = \frac1N \sum_i \Big[ \mathrm{softplus}\frac{OT_i - OT_{i,text(i)}}{t}
              + \mathrm{softplus}\frac{OT_i - OT_{image(i),i}}{t} \Big]

    The transport of matched pairs alone is 0 where all tokens are one point, so its minimum is a
    collapse. At such a point this loss is log 2, which is no minimum. UNITER (Chen et al. 2020) and
    ViLT (Kim et al. 2021) subtract the transport of drawn pairs for the same reason.

    Args:
        own: (B,) transport of each study's own text and image.
        by_image: (B,) transport of each image and the text that it drew.
        by_text: (B,) transport of each text and the image that it drew.
        valid: (2, B) bool, whether the image and the text drew one; the others count nothing.
        pairs: Number N of valid drawn pairs that the sum is divided by. Under DDP, which averages
            gradients over W processes: the number in all processes divided by W.
        temperature: t, above 0, in units of the transport cost (0 to 2).

    Returns:
        Scalar of at least 0, float32 or float64. No drawn pair at all gives 0.
    """
    with torch.autocast(own.device.type, enabled=False):
        own = own.to(torch.promote_types(own.dtype, torch.float32))
        drawn = torch.stack([by_image, by_text]).to(own.dtype)
        terms = F.softplus((own - drawn) / temperature).where(valid, 0.0)
        return terms.sum() / torch.as_tensor(pairs, dtype=own.dtype).clamp_min(LEAST_PAIRS)
