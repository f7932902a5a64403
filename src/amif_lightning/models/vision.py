"""Image towers: CLIP's, those of timm, and a small convolutional net that needs no download.

Both map images (I, 3, H, W) to tokens (I, 1 + P, D): a summary token, then P patches row by row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amif_lightning.checkpoint_file import check_weights
from amif_lightning.errors import UserError, first_line
from amif_lightning.hub import DOWNLOAD, text_tower, use_cache_if_unreachable
from amif_lightning.models.pixels import renormalise
from amif_lightning.models.timm_tower import SHORT, TimmTower, timm_network

#: Prefix of a folder with the configuration of an open_clip tower and without weights.
CONFIGURED = "config-dir:"
#: Channels of the stages of :class:`ConvTower`: patches of 32 pixels.
CHANNELS = (32, 64, 128, 256)


class ConvTower(nn.Module):
    """Residual convolutions that train from random weights in minutes.

    A vision transformer of the same cost learns too little. Patches are the cells of the last grid;
    row r and column c is centred on pixel (stride r, stride c). Each patch has a learned position
    embedding; the summary token is the mean of the patches without it. Batch normalisation removes
    features that all images share. With group normalisation, even the phantom data's view was
    learned late. In training, an image's tokens therefore depend slightly on its batch. Each GPU
    normalises over its own images unless ``--trainer.sync_batchnorm true`` is given.

    ``patch_centres`` (g,) are the increasing centres of the rows (and columns) of patches as shares
    of the side.

    Args:
        image_size: Side of the input in pixels.
        channels: Channels of the stages; the last is the width D. After a stem of stride 4, every
            stage except the first halves the grid.
        summary_channels: Channels of a branch for the summary token; empty: no branch. The branch
            starts before the last stage. That stage is then pointwise, so patches have a narrower
            field of view (with three stages 49 pixels instead of 97). The summary token is the mean
            of the branch's last grid, projected to D.
    """

    def __init__(
        self,
        image_size: int = 128,
        channels: Sequence[int] = CHANNELS,
        summary_channels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.quick_gelu: bool | None = None  # it has no GELU
        self.width = channels[-1]
        # Channels-last is faster on CPUs. Below 8 channels its backward pass of a strided 1 x 1
        # convolution writes out of bounds on CPUs without AVX-512 (oneDNN in torch 2.15).
        fits = min(channels) >= 8
        self._format = torch.channels_last if fits else torch.contiguous_format
        stride = 4 * 2 ** (len(channels) - 1)
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages: list[nn.Module] = []
        inputs = [channels[0], *channels]
        for depth, width in enumerate(channels):
            narrow = bool(summary_channels) and depth == len(channels) - 1
            stages.append(
                ResidualBlock(inputs[depth], width, 2 if depth else 1, 1 if narrow else 3)
            )
        self.stages = nn.Sequential(*stages)
        self.summary: nn.Module | None = None
        if summary_channels:
            wider = [inputs[-2], *summary_channels]
            self.summary = nn.Sequential(
                *(ResidualBlock(i, o, stride=2) for i, o in pairwise(wider)),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(wider[-1], self.width),
            )
        side = -(-image_size // stride)
        self.patch_centres = (np.arange(side) * stride + 0.5) / image_size
        # Half the scale of the features: fusion must distinguish left and right from the start.
        self.position = nn.Parameter(0.5 * torch.randn(1, side * side, self.width))

    def forward(self, images: Tensor) -> Tensor:
        """Encode images (I, 3, H, W) as tokens (I, 1 + P, D)."""
        shared = self.stages[:-1](self.stem(images.contiguous(memory_format=self._format)))
        patches = self.stages[-1](shared).flatten(2).transpose(1, 2)
        summary = patches.mean(1) if self.summary is None else self.summary(shared)
        return torch.cat([summary[:, None], patches + self.position], dim=1)

    def patches(self, tokens: Tensor) -> Tensor:
        """Return the patches (I, P, D) of tokens (I, 1 + P, D), without position embeddings."""
        return tokens[:, 1:] - self.position


class ResidualBlock(nn.Module):
    """Two convolutions of odd kernel size ``field`` with a shortcut; the first has the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int, field: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, field, stride, field // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, field, padding=field // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Map (I, inputs, h, w) to (I, outputs, h / stride, w / stride)."""
        return torch.relu(self.body(features) + self.shortcut(features))


class CLIPTower(nn.Module):
    """The vision transformer of an open_clip model, without projection.

    The attribute ``quick_gelu`` is true if it uses OpenAI's approximation of GELU.

    Args:
        visual: The image tower of an open_clip model; one of timm is a :class:`TimmTower`.
        name: The model's name in errors.
        image_size: Side of the input in pixels.

    Raises:
        UserError: If the tower has no grid of patch tokens.
    """

    def __init__(self, visual: Any, name: str, image_size: int) -> None:
        super().__init__()
        from open_clip.transformer import QuickGELU

        self.quick_gelu = any(isinstance(part, QuickGELU) for part in visual.modules())
        if getattr(visual, "attn_pool", 1) is not None or visual.pool_type not in ("tok", "avg"):
            raise _no_patches(name)
        visual.output_tokens = True  # forward then returns (pooled, tokens without CLS)
        visual.proj = None  # pooled is then the CLS token (or mean) at the tower's own width
        self.visual: Any = visual
        self.pixels = renormalise(visual.image_mean, visual.image_std)
        self.width = int(visual.conv1.out_channels)
        with torch.no_grad():
            shape = self(torch.zeros(1, 3, image_size, image_size)).shape
        side = math.isqrt(shape[1] - 1)
        if shape[2] != self.width or not side**2 == shape[1] - 1 > 0:
            raise _no_patches(name)
        self.patch_centres = (np.arange(side) + 0.5) / side

    def forward(self, images: Tensor) -> Tensor:
        """Encode images (I, 3, H, W) as tokens (I, 1 + P, D)."""
        summary, patches = self.visual(self.pixels(images))
        return torch.cat([summary[:, None], patches], dim=1)

    def patches(self, tokens: Tensor) -> Tensor:
        """Return the patches (I, P, D) of tokens (I, 1 + P, D), with positions."""
        return tokens[:, 1:]


def _no_patches(name: str) -> UserError:
    return UserError(
        f"The image tower {name!r} is not a vision transformer with a grid of patch tokens: choose "
        "a ViT, such as --model.init_args.vision ViT-B-16."
    )


def text_config(name: str, local: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the text part of an open_clip model's configuration; empty if unknown.

    ``local`` is that of :func:`amif_lightning.hub.text_tower`, empty for other than local models.

    Raises:
        ValueError: If the text tower needs code of its repository, which open_clip may run.
    """
    import open_clip
    from transformers import AutoConfig

    model: Any = open_clip.get_model_config(name) or {}
    config: Mapping[str, Any] = local.get("text_cfg") or model.get("text_cfg", {})
    if "hf_model_name" in config:
        AutoConfig.from_pretrained(config["hf_model_name"], trust_remote_code=False)
    return config


def _open_clip_tower(
    name: str, pretrained: str | None, image_size: int, quick_gelu: bool | None
) -> Any:
    """Create the image tower of an open_clip model."""
    import open_clip

    # Of a shared model, whose checkpoint holds the weights; others must have their own.
    load = not name.startswith(CONFIGURED)
    name = name.replace(CONFIGURED, "local-dir:", 1)
    folder = name.startswith("local-dir:")
    own_weights = folder or name.startswith("hf-hub:")
    if pretrained == "auto":
        pretrained = None if own_weights else "openai"
    # OpenAI's weights need a different activation from the configuration of the same name, but
    # open_clip only warns.
    tag = {} if own_weights or not pretrained else open_clip.get_pretrained_cfg(name, pretrained)
    if quick_gelu is None and (tag or {}).get("quick_gelu", False):
        quick_gelu = True
    if name.startswith("hf-hub:") or tag:
        use_cache_if_unreachable()
    local: dict[str, Any] = text_tower(name) if folder else {}
    if files := name.removeprefix("local-dir:") if folder and load else pretrained:
        check_weights(Path(files))
    try:
        text_config(name, local)
        return open_clip.create_model(
            name,
            pretrained=pretrained,
            load_weights=load,
            force_image_size=image_size,
            force_quick_gelu=bool(quick_gelu),
            force_patch_dropout=0.0,  # dropped patches would leave no grid
            pretrained_text=False,  # the text tower is not used
            # Otherwise a folder without weights gives random ones.
            require_pretrained=load and (own_weights or pretrained is not None),
            **({"quick_gelu": False} if quick_gelu is False else {}),  # overrides it
            **local,
        ).visual
    except Exception as error:  # readers of files and hubs raise many types
        advice = (
            f"{DOWNLOAD}, give --model.init_args.vision local-dir:FOLDER and set "
            "HF_HUB_OFFLINE=1, or use --model.init_args.vision efficientnet-lite0 or conv, "
            "which need no download"
        )
        if folder:
            advice = (
                "give a folder with open_clip_config.json and its weights as "
                "--model.init_args.vision local-dir:FOLDER, with any hf_model_name in it naming a "
                "folder, absolute or inside it (docs/weights.md)"
            )
        raise UserError(
            f"The image tower {name!r} (weights: {pretrained}) could not be loaded "
            f"({first_line(error)}): {advice}."
        ) from error


def build_vision(
    name: str,
    weights: str | None,
    image_size: int,
    quick_gelu: bool | None = None,
    channels: Sequence[int] = CHANNELS,
    summary_channels: Sequence[int] = (),
    grid: int | None = None,
    layer: str | None = None,
) -> ConvTower | CLIPTower | TimmTower:
    """Build the image tower of a name.

    Args:
        name: ``conv`` (:class:`ConvTower`); ``timm:NAME`` or a short name of a packaged network
            (:class:`TimmTower`); an open_clip model name (``ViT-B-16``), ``hf-hub:NAME`` or
            ``local-dir:FOLDER``.
        weights: ``auto``: the tower's own, for a model name of open_clip those of OpenAI; a
            weights tag of open_clip; a file; None: random. ``conv`` has random ones only, hub and
            folder names have their own.
        image_size: Side of the input in pixels; position embeddings are interpolated to it.
        quick_gelu: Whether to use OpenAI's approximation of GELU; None: as the weights tag
            requires, or else as the model's configuration. Only open_clip's towers have it.
        channels: As of :class:`ConvTower`.
        summary_channels: As of :class:`ConvTower`.
        grid: As of :class:`TimmTower`; None with other towers.
        layer: The same.

    Raises:
        UserError: If the tower cannot be built or its weights cannot be loaded.
    """
    of_timm = name.startswith("timm:") or name in SHORT
    for option, given in {"vision_grid": grid, "vision_layer": layer}.items():
        if given is not None and not of_timm:
            raise UserError(
                f"model.init_args.{option} is {given}: give null with the image tower {name!r}, "
                "because only networks of timm have this option."
            )
    if of_timm or name == "conv":
        if quick_gelu is not None:
            raise UserError(
                f"The activation of the image tower {name!r} cannot be chosen: leave out "
                "--model.init_args.vision_quick_gelu."
            )
        if name == "conv":
            return _conv_tower(image_size, channels, summary_channels)
        network = timm_network(name, weights, image_size)
        statistics = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
        return TimmTower(network, name, image_size, renormalise(*statistics), grid, layer)
    visual = _open_clip_tower(name, weights, image_size, quick_gelu)
    if not hasattr(visual, "trunk"):
        tower: CLIPTower | TimmTower = CLIPTower(visual, name, image_size)
    else:
        pixels = renormalise(visual.image_mean, visual.image_std)
        tower = TimmTower(visual.trunk, name, image_size, pixels)
        tower.quick_gelu = False
    if quick_gelu not in (None, tower.quick_gelu):
        raise UserError(
            f"The activation of the image tower {name!r} cannot be chosen: leave out "
            "--model.init_args.vision_quick_gelu."
        )
    return tower


def _conv_tower(
    image_size: int, channels: Sequence[int], summary_channels: Sequence[int]
) -> ConvTower:
    if min(channels, default=0) < 1:
        raise UserError(
            f"model.init_args.vision_channels is {list(channels)}: give one or more numbers "
            "of at least 1, such as [32, 64, 128, 256]."
        )
    if min(summary_channels, default=1) < 1:
        raise UserError(
            f"model.init_args.vision_summary_channels is {list(summary_channels)}: give "
            "numbers of at least 1, such as [128, 256], or [] for no branch."
        )
    return ConvTower(image_size, channels, summary_channels)
