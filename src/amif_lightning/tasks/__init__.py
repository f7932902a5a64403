"""LightningModules: they wire models, losses and metrics; the mathematics is elsewhere."""

from amif_lightning.tasks.base import AMiFTask
from amif_lightning.tasks.vqa import AMiFVQA

__all__ = ["AMiFTask", "AMiFVQA"]
