"""Several corpora of studies trained on together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from torch.utils.data import DataLoader

from amif_lightning.arguments import check_choice
from amif_lightning.batch import StudyBatch
from amif_lightning.data.leakage.held_out import (
    PATIENT,
    Compare,
    Scored,
    all_of,
    left_out,
    looks_from,
    not_compared,
    reasons_to_go,
)
from amif_lightning.data.leakage.image_hash import Look
from amif_lightning.data.loading.mixture_parts import check_parts, folder_of, joint_selection
from amif_lightning.data.loading.options import CorpusOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.loading.weighted import Mixed, check_weights, epoch_sizes
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyRelease, StudyRow
from amif_lightning.data.schema.study_splits import StudySplits
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack


class Mixture(StudyDataModule):
    """Studies of several corpora in one pre-training run, less images that are scored later.

    Each part keeps its own splits. Training studies go that show an image which another part
    validates or tests on, or which any set of ``held_out`` holds; they are counted and printed.
    Questions are mixed by :class:`QuestionMixture`.

    Args:
        parts: The corpora, each of another class and without a teacher. What decides their studies
            (root, splits, filters) is theirs; sizes, tokenizer, teacher and loader options stand
            once, beside ``parts``.
        weights: How often an epoch shows each part (see data/loading/weighted.py); null: once.
        held_out: Data sets of questions that the weights will be scored on. None of their images
            is seen, those of their training rows included: another split seed
            validates on other ones of them.
        compare: How images are found in other sets: ``content``: by file name, and by what they
            look like, which reads every image once; ``name``: by file name only.
        hashes: Folder that keeps what images look like, so that each is read once and not at
            every start; empty: nothing is kept.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If parts and weights do not go together, or an option is out of range.
    """

    def __init__(
        self,
        parts: list[StudyDataModule],
        weights: list[float] | None = None,
        held_out: list[VQADataModule] | None = None,
        compare: Compare = "content",
        hashes: str = "",
        **kwargs: Unpack[CorpusOptions],
    ) -> None:
        check_weights(len(parts), weights)
        # What decides studies is the parts' own: given here it would do nothing, so it cannot be.
        super().__init__(
            root=folder_of(parts),
            split_seed=parts[0].split_seed,
            validation_fraction=parts[0].validation_fraction,
            **kwargs,
        )
        check_choice("compare", compare, Compare)
        for part in parts:
            if part.teacher != "none":
                raise UserError(
                    f"A mixture has one teacher for all its parts, and its part "
                    f"{type(part).__name__} has the teacher {part.teacher}: give that part teacher "
                    "none, and the mixture --data.init_args.teacher."
                )
        self.parts, self.weights = parts, weights
        self.held_out, self.compare, self.hashes = held_out or [], compare, hashes

    def prepare_data(self) -> None:
        """Let all data sets prepare themselves, then as in the base."""
        for module in (*self.parts, *self.held_out):
            module.prepare_data()
        super().prepare_data()

    def training_texts(self) -> list[str]:
        """Those of all parts, one after the other."""
        return [text for part in self.parts for text in part.training_texts()]

    def selection(self) -> dict[str, str | int | float | bool]:
        """The selections of all parts, under their names, and what else was left out."""
        whole = left_out(self.held_out, self.compare)
        return joint_selection(type(self).__name__, self.parts, whole)

    # ---- studies ------------------------------------------------------------------------------

    def read_release(self) -> StudyRelease:
        """The studies of all parts as they split them; ids begin with the data set's name."""
        check_parts(self.parts, self.held_out)
        splits: dict[SplitName, list[StudyRow]] = {"train": [], "validation": [], "test": []}
        for part in self.parts:
            for split, rows in splits.items():
                rows.extend(_of_mixture(row) for row in part.rows(split))
        releases = [part.release for part in self.parts]
        return StudyRelease(
            dataset=type(self).__name__,
            layout=" + ".join(f"{one.dataset} {one.layout}" for one in releases),
            splits={split: tuple(rows) for split, rows in splits.items()},
            absent={
                f"{one.dataset} {what}": sentence
                for one in releases
                for what, sentence in one.absent.items()
            },
            dropped=tuple(row for part in self.parts for row in part.splits.dropped),
            notes=(
                *(f"{one.dataset}: {note}" for one in releases for note in one.notes),
                *not_compared(((m.release, all_of(m)) for m in self.held_out), self.compare),
            ),
        )

    @cached_property
    def splits(self) -> StudySplits:
        """The parts' own splits joined, less training studies whose image is scored somewhere."""
        release, dropped = self.release, list(self.release.dropped)
        kept: dict[SplitName, list[StudyRow]] = {"train": [], "validation": []}
        held_out = [all_of(module) for module in self.held_out]
        looks = looks_from(self.hashes)
        for part in self.parts:
            others = [other for other in self.parts if other is not part]
            scored: dict[SplitName, list[Scored]] = {
                "train": [other.scored() for other in others],
                "validation": [],
            }
            for split, images in scored.items():
                mine = [row for row in release.splits[split] if _source(row) == part.dataset]
                reasons = self._reasons(mine, [*images, *held_out], looks)
                kept[split] += [row for row in mine if row.study_id not in reasons]
                dropped += [DroppedRow(study, reason) for study, reason in reasons.items()]
        return StudySplits(
            train=tuple(kept["train"]),
            validation=tuple(kept["validation"]),
            test=release.splits["test"],
            dropped=tuple(dropped),
            held_out_from_train=any(part.splits.held_out_from_train for part in self.parts),
        )

    def _reasons(
        self, rows: Sequence[StudyRow], scored: Sequence[Scored], looks: Look
    ) -> dict[str, str]:
        """Why studies of a part must go, by id: for an image of theirs or for its patient."""
        files = {p.image_id: p.file for row in rows for p in row.images}
        found = reasons_to_go({name: name for name in files}, files, scored, self.compare, looks)
        reasons = {
            row.study_id: found[image.image_id]
            for row in rows
            for image in reversed(row.images)
            if image.image_id in found
        }
        groups = {row.group for row in rows if row.study_id in reasons and row.group}
        return reasons | {
            row.study_id: PATIENT
            for row in rows
            if row.group in groups and row.study_id not in reasons
        }

    def _epoch_studies(self) -> int:
        return sum(epoch_sizes(self._sizes(), self.weights))

    def _sizes(self) -> list[int]:
        """Training studies of each part."""
        counts = Counter(_source(row) for row in self.splits.train)
        return [counts[part.dataset] for part in self.parts]

    # ---- loaders ------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[StudyBatch]:
        """Shuffled studies of all parts, each as often as its weight says, in full batches."""
        data = Mixed(self._train_views(), self._sizes(), self.weights, self.seed)
        return self._train_loader(data, len(data), self._collate, drop_last=True)


def _source(row: StudyRow) -> str:
    """Name of the data set that a study comes from."""
    return row.study_id.partition("/")[0]


def _of_mixture(row: StudyRow) -> StudyRow:
    """The study with its group named ``<data set>/...``: patients are numbered anew in each."""
    return replace(row, group=f"{_source(row)}/{row.group}") if row.group else row
