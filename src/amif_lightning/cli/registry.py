"""The classes that a configuration may name, and the callbacks of every run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightning.pytorch import Callback, LightningDataModule, LightningModule

from amif_lightning.cli.data_command import data_base


@dataclass(frozen=True)
class Suite:
    """The classes that the parser accepts; tests pass toys."""

    model: type[LightningModule]  # base of the tasks, which have `monitor` and `mode`
    data: type[LightningDataModule]  # base of the data modules
    #: Makes the callback that writes records, from experiment, seed, folder and configuration.
    records: Callable[..., Callback]
    callbacks: Mapping[str, type[Callback]]  # further ones of every run, by key of their arguments


def load_suite() -> Suite:
    """Import the suite's classes, so that the parser knows their short names."""
    from amif_lightning.callbacks import AlignmentImages, AnswerImages, Dashboard, ResultWriter
    from amif_lightning.tasks import pretrain, vqa
    from amif_lightning.tasks.base import AMiFTask

    assert pretrain  # imported for the short names only
    assert vqa
    return Suite(
        model=AMiFTask,
        data=data_base(),
        records=ResultWriter,
        callbacks={
            "answer_images": AnswerImages,
            "alignment_images": AlignmentImages,
            "dashboard": Dashboard,
        },
    )
