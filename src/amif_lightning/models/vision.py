"""Image towers: a CLIP vision transformer, and a narrow convolutional net that needs no download.

Both map pictures (I, 3, H, W) to tokens (I, 1 + P, D): a summary token, then P patches row by row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amif_lightning.errors import UserError


class ConvTower(nn.Module):
    """Residual convolutions for sizes that train from random weights in minutes.

    A vision transformer of the same cost learns too little there. Patches are the last grid (stride
    32), the summary token is their mean. Group normalisation instead of batch normalisation, so
    that a picture's tokens depend on that picture alone and two processes compute what one would.

    Args:
        channels: Channels of the four stages; the last is the width D.
    """

    def __init__(self, channels: tuple[int, int, int, int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.width = channels[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels[0], 5, stride=2, padding=2, bias=False),
            _norm(channels[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages: list[nn.Module] = []
        previous = channels[0]
        for depth, width in enumerate(channels):
            stages.append(ResidualBlock(previous, width, stride=1 if depth == 0 else 2))
            previous = width
        self.stages = nn.Sequential(*stages)

    def grid(self, image_size: int) -> tuple[int, int]:
        """Rows and columns of patches for a square picture."""
        side = -(-image_size // 32)
        return side, side

    def forward(self, images: Tensor) -> Tensor:
        """(I, 3, H, W) -> (I, 1 + P, D)."""
        # Channels-last convolutions are markedly faster on CPUs and no slower on GPUs.
        features = self.stages(self.stem(images.contiguous(memory_format=torch.channels_last)))
        patches = features.flatten(2).transpose(1, 2)
        return torch.cat([patches.mean(1, keepdim=True), patches], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Stride of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            _norm(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            _norm(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))
        )

    def forward(self, features: Tensor) -> Tensor:
        """(I, inputs, h, w) -> (I, outputs, h / stride, w / stride)."""
        return torch.relu(self.body(features) + self.shortcut(features))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(8, channels), channels)


class CLIPTower(nn.Module):
    """The vision transformer of an open_clip model, before its projection.

    Args:
        name: An open_clip model name (``ViT-B-16``), ``hf-hub:NAME`` or ``local-dir:FOLDER``.
        pretrained: Weights tag (``openai``), a weights file, or None for random weights; hub and
            folder names bring their own weights.
        image_size: Side of the input in pixels; position embeddings are interpolated to it.

    Raises:
        UserError: If the weights cannot be reached, or the tower gives no patch tokens.
    """

    def __init__(self, name: str, pretrained: str | None, image_size: int) -> None:
        super().__init__()
        import open_clip

        try:
            visual: Any = open_clip.create_model(
                name, pretrained=pretrained, force_image_size=image_size
            ).visual
        except (RuntimeError, OSError, FileNotFoundError) as error:
            raise UserError(
                f"The image tower {name!r} (weights: {pretrained}) could not be loaded "
                f"({str(error).splitlines()[0]}): download the model's folder on a machine with "
                "network and give --model.init_args.vision local-dir:FOLDER, or "
                "--model.init_args.vision_pretrained null for random weights."
            ) from error
        if hasattr(visual, "output_tokens"):
            visual.output_tokens = True  # forward then returns (pooled, tokens without CLS)
            self.width = int(visual.conv1.out_channels)
            visual.proj = None  # pooled output = the CLS token at the tower's own width
        if hasattr(visual, "trunk"):
            # open_clip ignores output_tokens on timm towers; their trunk gives CLS + patches.
            self.width = int(visual.trunk.num_features)
        elif not hasattr(visual, "output_tokens"):
            raise UserError(
                f"The image tower {name!r} is no vision transformer with patch tokens: choose a "
                "ViT, such as --model.init_args.vision ViT-B-16."
            )
        self.visual = visual
        with torch.no_grad():
            tokens = self(torch.zeros(1, 3, image_size, image_size)).shape[1]
        self._side = round((tokens - 1) ** 0.5)

    def grid(self, image_size: int) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self._side, self._side

    def forward(self, images: Tensor) -> Tensor:
        """(I, 3, H, W) -> (I, 1 + P, D)."""
        if hasattr(self.visual, "trunk"):
            return self.visual.trunk.forward_features(images)
        summary, patches = self.visual(images)
        return torch.cat([summary[:, None], patches], dim=1)


def build_vision(name: str, pretrained: str | None, image_size: int) -> ConvTower | CLIPTower:
    """The image tower of a configuration.

    Args:
        name: ``conv`` for :class:`ConvTower`, else a name for :class:`CLIPTower`.
        pretrained: Weights for :class:`CLIPTower`.
        image_size: Side of the input in pixels.
    """
    if name == "conv":
        return ConvTower()
    if name.startswith("local-dir:") and not Path(name.removeprefix("local-dir:")).is_dir():
        raise UserError(
            f"The image tower's folder {name.removeprefix('local-dir:')} does not exist: give the "
            "folder that holds open_clip_config.json as --model.init_args.vision local-dir:FOLDER."
        )
    return CLIPTower(name, pretrained, image_size)
