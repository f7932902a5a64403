"""Callbacks: result records and prediction files, TensorBoard pictures, the dashboard's layout."""

from amif_lightning.callbacks.alignment_pictures import AlignmentPictures
from amif_lightning.callbacks.dashboard import Dashboard
from amif_lightning.callbacks.pictures import AnswerPictures
from amif_lightning.callbacks.results import ResultWriter

__all__ = ["AlignmentPictures", "AnswerPictures", "Dashboard", "ResultWriter"]
