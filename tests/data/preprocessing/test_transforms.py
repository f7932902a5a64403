"""Augmentation depends on the seed alone, keeps sides apart and stays in range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from amif_lightning.batch import CLIP_MEAN, CLIP_STD
from amif_lightning.data.preprocessing.transforms import Augmentation, ImageTransform, operations
from amif_lightning.errors import UserError

ALL: list[Augmentation] = ["none", "mild", "paper", "paper_pretrain", "released_pretrain"]
MEAN, STD = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)


def noise(side: int = 40, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=generator)


def test_constants_are_those_of_clip() -> None:
    # OpenAI CLIP's published preprocessing.
    assert CLIP_MEAN == (0.48145466, 0.4578275, 0.40821073)
    assert CLIP_STD == (0.26862954, 0.26130258, 0.27577711)


def test_none_only_normalises_an_image_of_the_right_size() -> None:
    image = noise(24)
    expected = (image.double() / 255 - MEAN.double()) / STD.double()
    torch.testing.assert_close(ImageTransform(24)(image).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("augmentation", ALL)
@pytest.mark.parametrize("side", [20, 24, 61])
def test_shape_type_and_range(augmentation: Augmentation, side: int) -> None:
    transform = ImageTransform(24, augmentation)
    for seed in range(20):
        out = transform(noise(side, seed), seed)
        assert out.shape == (3, 24, 24)
        assert out.dtype == torch.float32
        back = out * STD + MEAN
        assert back.min() >= -1e-5
        assert back.max() <= 1 + 1e-5


@pytest.mark.parametrize("augmentation", ALL)
def test_the_input_is_left_alone(augmentation: Augmentation) -> None:
    # Cached images are views of shared memory: a transform in place would change every epoch.
    image = noise(24)
    before = image.clone()
    out = ImageTransform(24, augmentation)(image, 3)
    out.zero_()
    assert torch.equal(image, before)


@pytest.mark.parametrize("augmentation", ALL)
def test_depends_on_the_seed_alone_and_moves_no_generator(augmentation: Augmentation) -> None:
    transform, image = ImageTransform(24, augmentation), noise()
    torch.manual_seed(1)
    first = transform(image, 5)
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002  # the legacy generator is what must not be read
    torch.rand(7)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002  # likewise
    assert torch.equal(transform(image, 5), first)
    assert torch.equal(torch.get_rng_state(), state)
    after: Any = np.random.get_state()  # noqa: NPY002  # likewise
    assert all(np.array_equal(a, b) for a, b in zip(numpy_state, after, strict=True))
    different = sum(not torch.equal(transform(image, seed), first) for seed in range(6, 16))
    assert different == (0 if augmentation == "none" else 10)


@pytest.mark.parametrize("augmentation", ALL)
def test_generators_of_gpus_are_not_seeded(
    augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without workers the transform runs in the training process: seeding the GPUs here would give
    # every step the same dropout.
    def seeded(seed: int) -> None:
        raise AssertionError("the transform seeded the GPUs")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    with pytest.raises(AssertionError, match="seeded the GPUs"):
        torch.manual_seed(0)  # the trap works
    ImageTransform(24, augmentation)(noise(), 1)


def slope(image: Tensor, axis: int) -> float:
    """Slope of brightness along an axis, outer fifths left out (black borders come in there)."""
    size = image.shape[-1]
    line = image.mean(0).mean(1 - axis)[size // 5 : size - size // 5]
    x = torch.arange(len(line), dtype=line.dtype)
    return float(((x - x.mean()) * (line - line.mean())).sum())


@pytest.mark.parametrize("axis", [0, 1], ids=["vertical", "horizontal"])
@pytest.mark.parametrize("augmentation", ["mild", "paper", "paper_pretrain"])
def test_never_flips(augmentation: Augmentation, axis: int) -> None:
    outs = [ImageTransform(48, augmentation)(ramp(axis), seed) for seed in range(300)]
    assert all(slope(out, axis) < 0 for out in outs)
    assert all(slope(out.flip(1 + axis), axis) > 0 for out in outs)  # a flip would be seen


def ramp(axis: int) -> Tensor:
    """Bright at the left (or top), dark at the right; below the threshold of solarize."""
    line = torch.linspace(180, 20, 64)
    image = (line[None, :] if axis else line[:, None]).expand(64, 64).expand(3, 64, 64)
    return image.to(torch.uint8).contiguous()


def test_the_released_pretraining_flips_sides_every_other_time() -> None:
    transform = ImageTransform(48, "released_pretrain")
    flipped = sum(slope(transform(ramp(1), seed), 1) > 0 for seed in range(300))
    assert 110 < flipped < 190  # 150 expected, 4.6 standard deviations
    assert all(slope(transform(ramp(0), seed), 0) < 0 for seed in range(100))


def test_a_grey_image_stays_grey_in_pretraining() -> None:
    # Jitter of saturation and hue does nothing to a radiograph.
    transform, grey = ImageTransform(40, "paper_pretrain"), noise(40)[:1].expand(3, 40, 40)
    for seed in range(60):
        back = transform(grey.contiguous(), seed) * STD + MEAN
        assert float((back.amax(0) - back.amin(0)).max()) < 2.5 / 255


def test_pretraining_loses_colour_as_often_as_released() -> None:
    transform, image = ImageTransform(32, "paper_pretrain"), noise(32)
    grey = 0
    for seed in range(600):
        back = transform(image, seed) * STD + MEAN
        grey += float((back.amax(0) - back.amin(0)).max()) < 2.5 / 255
    assert 30 < grey < 95  # 60 expected, 4 standard deviations and more


def test_operations_are_torchvisions_without_the_one_that_inverts() -> None:
    # Below 221, where magnitude 4 begins to invert, solarize leaves images as they are.
    dark = noise(40) // 2
    given = v2.RandAugment(num_ops=1, magnitude=4)
    theirs = [given(dark) for _ in range(400)]
    ours = [one(dark) for one in operations(40, 4 / 30)]

    def equal(a: Tensor, b: Tensor) -> bool:  # up to rounding: their magnitudes are float32
        return float((a != b).float().mean()) < 0.1

    assert all(any(equal(a, b) for b in theirs) for a in ours)
    assert all(any(equal(a, b) for b in ours) for a in theirs)
    assert len(ours) == 26
    for i, a in enumerate(ours):  # 4 are listed twice, and no two others are equal
        assert sum(equal(a, b) for b in ours) == (2 if i >= 18 else 1)
    bright = noise(40)
    inverted = vision.solarize(bright, 221.0)
    assert not equal(inverted, bright)
    assert not any(equal(one(bright), inverted) for one in operations(40, 4 / 30))


@pytest.mark.parametrize("size", [2, 5])  # torchvision cannot crop to one pixel
def test_pretraining_takes_the_smallest_images(size: int) -> None:
    for seed in range(40):
        assert ImageTransform(size, "paper_pretrain")(noise(9), seed).shape == (3, size, size)


def test_mild_without_its_draws_is_the_image_zoomed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every draw in the middle: no rotation, no shift, no change of brightness, zoom 0.925.
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), 0.5))
    row = torch.linspace(0, 255, 200).to(torch.uint8)
    image = row.expand(3, 200, 200).contiguous()
    back = (ImageTransform(100, "mild")(image) * STD + MEAN)[0, 50]
    # Output column centres map to 0.5 + 0.925 (c - 0.5) of the image's width.
    centres = (torch.arange(100) + 0.5) / 100
    torch.testing.assert_close(back, 0.5 + 0.925 * (centres - 0.5), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("augmentation", "size", "least"),
    [("none", 288, 288), ("mild", 112, 112 / 0.75), ("paper", 288, 288 / 0.6**0.5)]
    + [(name, 288, 288 / 0.7**0.5) for name in ("paper_pretrain", "released_pretrain")]
    + [("paper", size, size / 0.6**0.5) for size in (100, 112, 113, 224)],
)
def test_decoding_keeps_enough_pixels_for_the_smallest_crop(
    augmentation: Augmentation, size: int, least: float
) -> None:
    decoded = ImageTransform(size, augmentation).decoded_size
    assert least <= decoded < least + 1


def test_unknown_augmentation() -> None:
    with pytest.raises(UserError, match="'strong': give one of none, mild, paper"):
        ImageTransform(24, "strong")  # type: ignore[arg-type]  # that is the point
