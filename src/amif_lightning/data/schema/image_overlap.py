"""How many images two sets of rows have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amif_lightning.data.schema.question_splits import images_of, shared_images
from amif_lightning.data.schema.questions import VQAExample


@dataclass(frozen=True)
class Overlap:
    """Images of one set of rows that another one shows as well.

    Attributes:
        first: Name of the one set.
        second: Name of the other set.
        shared: Number of images in both.
        images_of_second: Number of images in the other set.
    """

    first: str
    second: str
    shared: int
    images_of_second: int


def overlap(
    first: str, rows: Sequence[VQAExample], second: str, others: Sequence[VQAExample]
) -> Overlap:
    """Count the images that two sets of rows share.

    Args:
        first: Name of the one set.
        rows: Its rows.
        second: Name of the other set.
        others: Its rows.

    Returns:
        The counts.
    """
    return Overlap(first, second, len(shared_images(rows, others)), len(images_of(others)))
