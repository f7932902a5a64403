"""Several corpora of studies trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from amif_lightning.data.leakage.held_out import not_compared
from amif_lightning.data.loading.mixture import MixtureModule, folder_of
from amif_lightning.data.loading.options import CorpusOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.loading.weighted import check_weights
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName
from amif_lightning.data.schema.studies import StudyRow
from amif_lightning.data.schema.study_splits import StudySplits
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack


class Mixture(MixtureModule[StudyRow], StudyDataModule):
    """Studies of several corpora in one pre-training run.

    Each part keeps its own splits. Training studies are dropped and counted if another part
    validates or tests on one of their images, or any set of ``held_out`` contains it. Questions
    are mixed by :class:`QuestionMixture`.

    Args:
        parts: The corpora, each of another class and without a teacher. Options that decide studies
            (root, splits, filters) are given to the parts; sizes, tokenizer, teacher and loader
            options beside ``parts``.
        weights: How often an epoch shows each part (see data/loading/weighted.py); null: once.
        held_out: Data sets of questions that the weights will be scored on. None of their images
            is trained on, including their training images: another split seed validates on others
            of them.
        hashes: Folder that keeps the images' perceptual hashes, so that each image is read once.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If parts and weights do not go together, or an option is out of range.
    """

    def __init__(
        self,
        parts: list[StudyDataModule],
        weights: list[float] | None = None,
        held_out: list[VQADataModule] | None = None,
        hashes: str = "data/hashes",
        **kwargs: Unpack[CorpusOptions],
    ) -> None:
        check_weights(len(parts), weights)
        # Options that decide studies belong to the parts; here they would have no effect.
        StudyDataModule.__init__(
            self,
            root=folder_of(parts),
            split_seed=parts[0].split_seed,
            validation_fraction=parts[0].validation_fraction,
            **kwargs,
        )
        for part in parts:
            if part.teacher != "none":
                raise UserError(
                    f"A mixture has one teacher for all its parts, and its part "
                    f"{type(part).__name__} has the teacher {part.teacher}: give that part teacher "
                    "none, and the mixture --data.init_args.teacher."
                )
        self.parts: Sequence[StudyDataModule] = parts
        self.weights, self.held_out, self.hashes = weights, held_out or [], hashes

    def read_release(self) -> Release[StudyRow]:
        """Join the splits of all parts; ids begin with the name of the data set."""
        self._check_parts()
        splits: tuple[SplitName, ...] = ("train", "validation", "test")
        return self._joined(
            {s: tuple(_of_mixture(r) for p in self.parts for r in p.rows(s)) for s in splits},
            (row for part in self.parts for row in part.splits.dropped),
            (note for m in self.held_out for note in not_compared(m, m.released_images())),
        )

    @cached_property
    def splits(self) -> StudySplits:
        """The joined splits of the parts, without training studies that another set scores."""
        release = self.release
        kept, leaking = self._without_leaks(
            {"train": lambda other: other.scored_images(), "validation": lambda other: []}
        )
        return StudySplits(
            train=tuple(map(_of_mixture, kept["train"])),
            validation=tuple(map(_of_mixture, kept["validation"])),
            test=release.splits["test"],
            dropped=(*release.dropped, *(DroppedRow(*found) for found in leaking.items())),
            held_out_from_train=any(part.splits.held_out_from_train for part in self.parts),
            absent=release.absent,
        )


def _source(row: StudyRow) -> str:
    """Name of the data set that a study comes from."""
    return row.study_id.partition("/")[0]


def _of_mixture(row: StudyRow) -> StudyRow:
    """Name the group ``<data set>/...``: patient numbers repeat across data sets."""
    return replace(row, group=f"{_source(row)}/{row.group}") if row.group else row
