"""Resize, augment and normalise decoded images.

The caller's seed decides all random numbers, so a sample depends only on (seed, epoch, index).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from amif_lightning.arguments import check_choice
from amif_lightning.batch import CLIP_MEAN, CLIP_STD
from amif_lightning.data.preprocessing.images import MAX_PIXELS, decode_image
from amif_lightning.errors import UserError

Augmentation = Literal["none", "mild", "paper", "paper_pretrain", "released_pretrain"]

# Smallest crop areas of the two stages; decoding must keep enough pixels for them.
SMALLEST_CROP = 0.6
SMALLEST_PRETRAIN_CROP = 0.7
SMALLEST_ZOOM = 0.75  # smallest share of the image's side that ``mild`` shows
LARGEST_ZOOM = 1.1


class ImageTransform:
    """Resize, augment and normalise one image.

    Args:
        size: Side of the output in pixels.
        augmentation: ``none``; ``mild``: rotation up to 10 degrees, zoom 0.75 to 1.1, shift up to
            6 %, brightness and contrast up to 20 %, in one resampling of the decoded square;
            ``paper``, for fine-tuning: random crop of 0.6 to 1 of the area, RandAugment(2, 7) with
            probability 0.8; ``paper_pretrain``: random crop of 0.7 to 1, jitter (0.4, 0.4, 0.4,
            0.1) of brightness, contrast, saturation and hue with probability 0.6, grey with 0.1,
            RandAugment(2, 4) without ``Solarize`` with 0.8, blur of sigma 0.1 to 2 with 0.3;
            ``released_pretrain``: the same and a horizontal flip with probability 0.5, after which
            texts that name a side are wrong. All are released values; magnitudes are on
            torchvision's scale of 0 to 30, and blur is in output pixels. An unknown name is a
            ``UserError``.
    """

    def __init__(self, size: int, augmentation: Augmentation = "none") -> None:
        check_choice("augmentation", augmentation, Augmentation)
        self.size = size
        self.augmentation = augmentation
        self._mean = torch.tensor(CLIP_MEAN).view(3, 1, 1)
        self._std = torch.tensor(CLIP_STD).view(3, 1, 1)
        self._drawn = _PIPELINES[augmentation](size) if augmentation in _PIPELINES else None

    @property
    def decoded_size(self) -> int:
        """Side of the decoded square whose smallest square crop has ``size`` pixels.

        A crop that is not square may still be enlarged along its shorter side.
        """
        shown = {"none": 1.0, "mild": SMALLEST_ZOOM, "paper": SMALLEST_CROP**0.5}
        return math.ceil(self.size / shown.get(self.augmentation, SMALLEST_PRETRAIN_CROP**0.5))

    def __call__(self, pixels: Tensor, seed: int = 0) -> Tensor:
        """Map an image (3, h, w) uint8 to (3, size, size) float32, augmented by ``seed``."""
        if self.augmentation == "mild":
            image = _mild(pixels, self.size, torch.Generator().manual_seed(seed))
        elif self._drawn is not None:
            # torchvision draws from the global CPU generator only, which is restored afterwards.
            # torch.manual_seed would also reset the generators of all GPUs, which are not forked.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                image = self._drawn(pixels).float() / 255
        else:
            image = _resize(pixels.float() / 255, self.size)
        return (image - self._mean) / self._std


def _fine_tuning(size: int) -> v2.Compose:
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(SMALLEST_CROP, 1.0), antialias=True),
            v2.RandomApply([v2.RandAugment(num_ops=2, magnitude=7)], p=0.8),
        ]
    )


def _pretraining(size: int, flip: float = 0.0) -> v2.Compose:
    operation = v2.RandomChoice([v2.Lambda(one) for one in operations(size, 4 / 30)])
    # Three standard deviations of the widest blur; its reflected border must fit the image.
    kernel = min(13, 2 * size - 1)
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(SMALLEST_PRETRAIN_CROP, 1.0), antialias=True),
            v2.RandomHorizontalFlip(flip),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.6),
            v2.RandomGrayscale(0.1),
            v2.RandomApply([operation, operation], p=0.8),
            v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], p=0.3),
        ]
    )


_PIPELINES: Mapping[str, Callable[[int], v2.Compose]] = {
    "paper": _fine_tuning,
    "paper_pretrain": _pretraining,
    "released_pretrain": partial(_pretraining, flip=0.5),
}


def operations(size: int, strength: float) -> list[Callable[[Tensor], Tensor]]:
    """Return RandAugment's operations on (3, size, size) uint8 except ``Solarize``, an inversion.

    torchvision's class cannot leave one out. ``strength`` is the magnitude over 30. Signed
    operations are listed once per sign and others twice, so that each is drawn equally often.
    """
    both, plain = [], [partial(vision.posterize, bits=8 - round(4 * strength))]
    for sign in (1, -1):
        angle = sign * math.degrees(math.atan(0.3 * strength))
        shift = sign * int(150 / 331 * size * strength)
        factor = 1 + sign * 0.9 * strength
        both += [
            partial(_affine, shear=[angle, 0.0], center=[0.0, 0.0]),
            partial(_affine, shear=[0.0, angle], center=[0.0, 0.0]),
            partial(_affine, translate=[shift, 0]),
            partial(_affine, translate=[0, shift]),
            partial(vision.rotate, angle=sign * 30 * strength),
            partial(vision.adjust_brightness, brightness_factor=factor),
            partial(vision.adjust_saturation, saturation_factor=factor),
            partial(vision.adjust_contrast, contrast_factor=factor),
            partial(vision.adjust_sharpness, sharpness_factor=factor),
        ]
    return [*both, *2 * [*plain, vision.autocontrast, vision.equalize, _same]]


def _affine(image: Tensor, **moves: Any) -> Tensor:
    still: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    moved: Tensor = vision.affine(image, **(still | moves))
    return moved


def _same(image: Tensor) -> Tensor:
    return image


def _resize(image: Tensor, size: int) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    return F.interpolate(
        image[None], (size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]


def _mild(pixels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    draw = torch.rand(6, generator=generator, dtype=torch.float32) * 2 - 1  # six numbers in [-1, 1]
    angle = draw[0] * (10 * torch.pi / 180)
    middle, reach = (LARGEST_ZOOM + SMALLEST_ZOOM) / 2, (LARGEST_ZOOM - SMALLEST_ZOOM) / 2
    zoom = middle + reach * draw[1]  # visible share of the image's side
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Coordinates run from -1 to 1, so a shift of 6 % of the side is 0.12.
    theta = torch.stack(
        [torch.stack([cos, -sin, 0.12 * draw[2]]), torch.stack([sin, cos, 0.12 * draw[3]])]
    )
    grid = F.affine_grid(theta[None], [1, 3, size, size], align_corners=False)
    image = F.grid_sample(pixels[None].float() / 255, grid, align_corners=False)[0]
    mean = image.mean()
    return ((image - mean) * (1 + 0.2 * draw[4]) + mean + 0.2 * draw[5]).clamp(0, 1)


def to_square(image: Image.Image, size: int) -> Tensor:
    """Resize the whole image to (3, size, size) uint8, without keeping the aspect ratio."""
    resized = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def read_square(path: Path, size: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode a file of at most ``max_pixels`` to (3, size, size) uint8."""
    return to_square(decode_image(path, size, max_pixels), size)


class DecodedImages:
    """Images decoded once into memory shared by all loader workers.

    N x 3 x size x size bytes are reserved for N files and filled at the first access to each image.
    Two workers may decode the same image; both write the same bytes.

    Raises:
        UserError: If shared memory is too small.
    """

    def __init__(self, files: Iterable[Path], size: int, max_pixels: int = MAX_PIXELS) -> None:
        self._size, self._max_pixels = size, max_pixels
        self._rows = {path: row for row, path in enumerate(dict.fromkeys(files))}
        count = len(self._rows)
        try:
            self._pixels = torch.zeros((count, 3, size, size), dtype=torch.uint8).share_memory_()
            self._filled = torch.zeros(count, dtype=torch.bool).share_memory_()
        except (RuntimeError, MemoryError) as error:
            raise UserError(
                f"cache_images needs {count * 3 * size * size / 2**30:.1f} GiB of shared memory "
                f"for {count} images of {size} pixels, more than this machine has: set "
                "--data.init_args.cache_images false."
            ) from error

    def get(self, path: Path) -> Tensor:
        """Return an image as (3, size, size) uint8, decoded at the first call."""
        row = self._rows[path]
        if not self._filled[row]:
            self._pixels[row] = read_square(path, self._size, self._max_pixels)
            self._filled[row] = True
        return self._pixels[row]
