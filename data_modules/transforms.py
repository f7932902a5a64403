"""From a decoded picture to a normalised square, with or without augmentation.

No transform flips: where a text names a side, a mirrored picture is a wrong sample. Random numbers
come from a generator handed in, so a sample depends on (seed, epoch, index) alone, whatever worker
makes it.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from data_modules.options import check_choice

Augmentation = Literal["none", "mild", "paper"]

# Statistics of CLIP's training images, which every open_clip tower expects.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

SMALLEST_CROP = 0.6  # fine-tuning's smallest crop area; decoding must keep enough pixels for it
SMALLEST_ZOOM = 0.75  # smallest part of the picture's side that ``mild`` shows
LARGEST_ZOOM = 1.1


class ImageTransform:
    """Resize, augment and normalise one picture.

    Args:
        size: Side of the output in pixels.
        augmentation: ``none``; ``mild``: rotation up to 10 degrees, zoom 0.75 to 1.1, shift up to
            6 %, brightness and contrast up to 20 %, all in one resampling of the decoded square;
            ``paper``: random crop of 0.6 to 1 of the area and RandAugment(2, 7) with probability
            0.8 (released values; the magnitude 7 on torchvision's scale of 0 to 30).

    Raises:
        UserError: If the augmentation is unknown.
    """

    def __init__(self, size: int, augmentation: Augmentation = "none") -> None:
        check_choice("augmentation", augmentation, Augmentation)
        self.size = size
        self.augmentation = augmentation
        self._mean = torch.tensor(CLIP_MEAN).view(3, 1, 1)
        self._std = torch.tensor(CLIP_STD).view(3, 1, 1)
        self._paper = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(SMALLEST_CROP, 1.0), antialias=True),
                v2.RandomApply([v2.RandAugment(num_ops=2, magnitude=7)], p=0.8),
            ]
        )

    @property
    def decoded_size(self) -> int:
        """Pixels a side that a decoded square should have, so that the smallest crop keeps `size`.

        A ``paper`` crop that is not square may still be enlarged along its shorter side.
        """
        shown = {"none": 1.0, "mild": SMALLEST_ZOOM, "paper": SMALLEST_CROP**0.5}
        return math.ceil(self.size / shown[self.augmentation])

    def __call__(self, pixels: Tensor, seed: int = 0) -> Tensor:
        """Transform one picture.

        Args:
            pixels: (3, h, w) uint8.
            seed: Decides the augmentation, whatever has been drawn before.

        Returns:
            (3, size, size) float32, normalised.
        """
        if self.augmentation == "mild":
            image = _mild(pixels, self.size, torch.Generator().manual_seed(seed))
        elif self.augmentation == "paper":
            # torchvision draws from the global CPU generator only; fork it so nothing else moves.
            # torch.manual_seed would also reset the generators of all GPUs, which are not forked.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                image = self._paper(pixels).float() / 255
        else:
            image = _resize(pixels.float() / 255, self.size)
        return (image - self._mean) / self._std


def _resize(image: Tensor, size: int) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    return F.interpolate(
        image[None], (size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]


def _mild(pixels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    draw = torch.rand(6, generator=generator) * 2 - 1  # six numbers in [-1, 1]
    angle = draw[0] * (10 * torch.pi / 180)
    middle, reach = (LARGEST_ZOOM + SMALLEST_ZOOM) / 2, (LARGEST_ZOOM - SMALLEST_ZOOM) / 2
    zoom = middle + reach * draw[1]  # shown part of the picture's side
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Coordinates run from -1 to 1, so a shift of 6 % of the side is 0.12.
    theta = torch.stack(
        [torch.stack([cos, -sin, 0.12 * draw[2]]), torch.stack([sin, cos, 0.12 * draw[3]])]
    )
    grid = F.affine_grid(theta[None], [1, 3, size, size], align_corners=False)
    image = F.grid_sample(pixels[None].float() / 255, grid, align_corners=False)[0]
    mean = image.mean()
    return ((image - mean) * (1 + 0.2 * draw[4]) + mean + 0.2 * draw[5]).clamp(0, 1)
