"""What the command line is about: the classes a configuration may name, and the callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightning.pytorch import Callback, LightningDataModule, LightningModule


@dataclass(frozen=True)
class Suite:
    """Classes that the parser offers; tests pass toys.

    Attributes:
        model: Base class of the tasks. Its subclasses name the score to select checkpoints by in
            the class attributes ``monitor`` and ``mode``.
        data: Base class of the data modules.
        records: Makes the callback that writes result records, from ``experiment`` (str), ``seed``
            (int), ``folder`` (str) and ``config`` (the call's configuration as plain values).
        callbacks: Further callbacks of every run, by the key under which their arguments are set.
    """

    model: type[LightningModule]
    data: type[LightningDataModule]
    records: Callable[..., Callback]
    callbacks: Mapping[str, type[Callback]]


def load_suite() -> Suite:
    """Import the suite's classes, which makes their short names known to the parser."""
    import data_modules
    from amif_lightning.callbacks import AlignmentImages, AnswerImages, Dashboard, ResultWriter
    from amif_lightning.data.loading.base_module import TextDataModule
    from amif_lightning.tasks import pretrain, vqa
    from amif_lightning.tasks.base import AMiFTask

    assert pretrain  # these three are imported for the short names only
    assert vqa
    assert data_modules
    return Suite(
        model=AMiFTask,
        data=TextDataModule,
        records=ResultWriter,
        callbacks={
            "answer_images": AnswerImages,
            "alignment_images": AlignmentImages,
            "dashboard": Dashboard,
        },
    )
