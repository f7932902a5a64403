"""Several corpora of studies trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from amif_lightning.data.leakage.held_out import not_compared
from amif_lightning.data.loading.mixture import MixtureModule, check_weights, folder_of
from amif_lightning.data.loading.options import CorpusOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName
from amif_lightning.data.schema.studies import StudyRow, StudySplits
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack


class Mixture(MixtureModule[StudyRow], StudyDataModule):
    """Studies of several corpora in one pre-training run, each with its own splits.

    Training studies are dropped and counted if one of their images is a validation or test image of
    another part or is in a set of ``held_out``. :class:`QuestionMixture` mixes questions.

    Args:
        parts: The corpora, of different classes and without teachers. They take the options that
            select studies (root, splits, filters); the mixture takes sizes, tokenizer, teacher and
            loader options.
        weights: Passes per epoch of each part (see data/loading/mixture.py); null: one.
        held_out: VQA data sets that the weights will be scored on. All of their images are
            excluded, since another split seed may validate on any training image.
        hashes: Folder that caches perceptual hashes of the images.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If parts and weights do not match, or an option is out of range.
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
        # The parts take the options that select studies; here they would have no effect.
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
                    f"All parts of a mixture share one teacher, but its part "
                    f"{type(part).__name__} has the teacher {part.teacher}: give that part teacher "
                    "none, and the mixture --data.init_args.teacher."
                )
        self.parts: Sequence[StudyDataModule] = parts
        self.weights, self.held_out, self.hashes = weights, held_out or [], hashes

    def read_release(self) -> Release[StudyRow]:
        """Join the splits of all parts."""
        self._check_parts()
        splits: tuple[SplitName, ...] = ("train", "validation", "test")
        return self._joined(
            {s: tuple(_of_mixture(r) for p in self.parts for r in p.rows(s)) for s in splits},
            (row for part in self.parts for row in part.splits.dropped),
            (note for m in self.held_out for note in not_compared(m, m.released_images())),
        )

    @cached_property
    def splits(self) -> StudySplits:
        """Return the joined splits, without training studies of images that another set scores."""
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


def _of_mixture(row: StudyRow) -> StudyRow:
    """Rename the group to ``<data set>/...``, since patient numbers repeat across data sets."""
    source = row.study_id.partition("/")[0]
    return replace(row, group=f"{source}/{row.group}") if row.group else row
