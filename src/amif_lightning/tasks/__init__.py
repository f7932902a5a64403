"""LightningModules that connect models, losses and metrics."""

from amif_lightning.tasks.base import AMiFTask
from amif_lightning.tasks.pretrain import AMiFPretrain
from amif_lightning.tasks.vqa import AMiFVQA

__all__ = ["AMiFPretrain", "AMiFTask", "AMiFVQA"]
