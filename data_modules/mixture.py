"""Several corpora of studies trained on together."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

from torch.utils.data import DataLoader

from amif_lightning.batch import StudyBatch
from amif_lightning.errors import UserError
from data_modules.base import VQADataModule
from data_modules.mixing import Mixed, check_weights
from data_modules.options import check_choice
from data_modules.parts import check_parts, folder_of, joint_selection
from data_modules.rows import DroppedRow, SplitName
from data_modules.scored_pictures import Compare, Scored, all_of, reasons_to_go
from data_modules.studies import StudyDataModule
from data_modules.study_rows import StudyRelease, StudyRow
from data_modules.study_splits import StudySplits


class Mixture(StudyDataModule):
    """Studies of several corpora in one pre-training run, less pictures that are scored later.

    Each part keeps its own splits. Training studies go that show a picture which another part
    validates or tests on, or which any set of ``held_out`` holds; they are counted and printed.
    Questions are mixed by :class:`QuestionMixture`.

    Args:
        parts: The corpora, each of another class and without a teacher. What decides their studies
            (root, splits, filters) is theirs; sizes, tokenizer, teacher and loader options stand
            once, beside ``parts``.
        weights: How often an epoch shows each part (see data_modules/mixing.py); null: once.
        held_out: Data sets of questions that the weights will be scored on. None of their pictures
            is seen, those of their training rows included: another split seed carves other ones of
            them for validation.
        compare: How pictures are found in other sets: ``content``: by file name, and by what they
            look like, which reads every picture once; ``name``: by file name only.
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
        **kwargs: Any,
    ) -> None:
        check_weights(len(parts), weights)
        super().__init__(root=folder_of(parts), **kwargs)
        check_choice("compare", compare, Compare)
        for part in parts:
            if part.teacher != "none":
                raise UserError(
                    f"A mixture has one teacher for all its parts, and its part "
                    f"{type(part).__name__} has the teacher {part.teacher}: give that part teacher "
                    "none, and the mixture --data.init_args.teacher."
                )
        self.parts, self.weights = parts, weights
        self.held_out, self.compare = held_out or [], compare

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
        return joint_selection(type(self).__name__, self.parts, self.held_out)

    # ---- studies ------------------------------------------------------------------------------

    def read_release(self) -> StudyRelease:
        """The studies of all parts as they split them; ids begin with the data set's name."""
        check_parts([part.dataset for part in self.parts], self.parts)
        splits: dict[SplitName, list[StudyRow]] = {"train": [], "validation": [], "test": []}
        for part in self.parts:
            for split, rows in splits.items():
                rows.extend(part.rows(split))
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
            notes=tuple(f"{one.dataset}: {note}" for one in releases for note in one.notes),
        )

    @cached_property
    def splits(self) -> StudySplits:
        """The parts' own splits joined, less training studies whose picture is scored somewhere."""
        release, train = self.release, []
        dropped = list(release.dropped)
        for part in self.parts:
            reasons = self._reasons(part)
            for row in part.rows("train"):
                reason = next(
                    (reasons[p.image_id] for p in row.images if p.image_id in reasons), None
                )
                if reason is None:
                    train.append(row)
                else:
                    dropped.append(DroppedRow(row.study_id, reason))
        return StudySplits(
            train=tuple(train),
            validation=release.splits["validation"],
            test=release.splits["test"],
            dropped=tuple(dropped),
            carved_from_train=any(part.splits.carved_from_train for part in self.parts),
        )

    def _reasons(self, part: StudyDataModule) -> dict[str, str]:
        """Why pictures of a part must not be trained on, by image id."""
        pictures = {p.image_id: p.file for row in part.rows("train") for p in row.images}
        scored = [_held_out(other) for other in self.parts if other is not part]
        scored += [all_of(module) for module in self.held_out]
        paths = {identity: identity.partition("/")[2] for identity in pictures}
        return reasons_to_go(paths, pictures, scored, self.compare)

    # ---- loaders ------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[StudyBatch]:
        """Shuffled studies of all parts, each as often as its weight says, in full batches."""
        counts = Counter(row.study_id.partition("/")[0] for row in self.splits.train)
        sizes = [counts[part.dataset] for part in self.parts]
        data = Mixed(self._train_views(), sizes, self.weights, self.seed)
        return self._train_loader(data, len(data), self._collate, drop_last=True)


def _held_out(part: StudyDataModule) -> Scored:
    """The pictures that a corpus validates and tests on."""
    splits = [
        [picture for row in part.rows(split) for picture in row.images]
        for split in ("validation", "test")
    ]
    return Scored(
        names=tuple(tuple(p.image_id.partition("/")[2] for p in split) for split in splits),
        files=frozenset(p.file for split in splits for p in split),
    )
