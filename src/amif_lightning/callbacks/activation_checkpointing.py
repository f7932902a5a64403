"""Recompute activations in the backward pass, so that larger batches fit into memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.checkpoint import checkpoint


class ActivationCheckpointing(Callback):
    """Store only the inputs of transformer layers, and compute their activations twice.

    Applies to the layers of the text encoder, of transformer image towers, fusion and decoder.
    Convolutional towers are left out: batch normalisation would update its moving means twice. Loss
    and gradients are those of a plain step, and checkpoints have the same names.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the ``forward`` of each layer."""
        for layer in checkpointed_layers(pl_module):
            layer.forward = partial(_recomputed, layer, layer.forward)


def checkpointed_layers(module: nn.Module) -> list[nn.Module]:
    """Return the transformer layers within a module."""
    from open_clip.transformer import ResidualAttentionBlock
    from timm.models.vision_transformer import Block
    from transformers.models.bert.modeling_bert import BertLayer

    kinds = (nn.TransformerDecoderLayer, BertLayer, ResidualAttentionBlock, Block)
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def _recomputed(layer: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    # A key-value cache, as in ranking, would be extended twice.
    if not (layer.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
