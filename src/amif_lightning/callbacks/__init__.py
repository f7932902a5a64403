"""Callbacks for result records, TensorBoard images and the dashboard layout."""

from amif_lightning.callbacks.activation_checkpointing import ActivationCheckpointing
from amif_lightning.callbacks.alignment_images import AlignmentImages
from amif_lightning.callbacks.answer_images import AnswerImages
from amif_lightning.callbacks.dashboard import Dashboard
from amif_lightning.callbacks.divergence import DivergenceGuard
from amif_lightning.callbacks.results import ResultWriter

__all__ = [
    "ActivationCheckpointing",
    "AlignmentImages",
    "AnswerImages",
    "Dashboard",
    "DivergenceGuard",
    "ResultWriter",
]
