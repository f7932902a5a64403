"""Types of the arguments that tasks pass to their bases; the classes document them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

Stage = Literal["global", "local", "joint"]
TransportLoss = Literal["contrast", "matched"]
TransportTokens = Literal["words", "contextual", "fused"]
Negatives = Literal["curriculum", "hard", "random"]


class TaskOptions(TypedDict, total=False):
    """Arguments of :class:`amif_lightning.tasks.base.AMiFTask`."""

    vision: str
    vision_pretrained: str | None
    vision_quick_gelu: bool | None
    vision_grid: int | None
    vision_layer: str | None
    vision_channels: Sequence[int]
    vision_summary_channels: Sequence[int]
    text: str
    text_pretrained: bool
    text_layers: int
    image_size: int
    width: int
    heads: int
    fusion_layers: int
    dropout: float
    attention_dropout: float | None
    attention: Literal["sdpa", "eager"]
    init_from: str | None
    freeze_vision: bool
    freeze_text: bool
    lr: float
    vision_lr_factor: float
    text_lr_factor: float
    fusion_lr_factor: float
    heads_lr_factor: float
    min_lr: float
    warmup: float
    weight_decay: float
    betas: tuple[float, float]
    seed: int


class AuxiliaryOptions(TaskOptions, total=False):
    """The same with the arguments of :class:`AuxiliaryTask`."""

    transport: float
    transport_tokens: TransportTokens
    image_text: float
    image_text_smoothing: float
    temperature: float
    blur: float
    scaling: float
    reach: float | None


class LocalAlignmentOptions(TaskOptions, total=False):
    """The same with the arguments of :class:`LocalAlignmentTask`."""

    shared_projection: bool
    stage: Stage
    transport: float
    transport_loss: TransportLoss
    transport_tokens: TransportTokens
    transport_temperature: float
    transport_denials: bool
    transport_start: float
    view_transport: float
    matching: float
    negatives: Negatives
    random_share: float
    max_likeness: float
    local_view: Literal["frontal", "first"]
    blur: float
    scaling: float
    reach: float | None
