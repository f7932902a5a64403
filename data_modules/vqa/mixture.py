"""Several data sets of questions trained on together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch.utils.data import DataLoader

from amif_lightning.arguments import check_choice
from amif_lightning.batch import VQABatch
from amif_lightning.data.leakage.held_out import (
    PATIENT,
    Compare,
    Scored,
    all_of,
    left_out,
    looks_from,
    not_compared,
    reasons_to_go,
    scored_of,
    tested_of,
)
from amif_lightning.data.leakage.image_hash import Look
from amif_lightning.data.loading.mixture_parts import check_parts, folder_of, joint_selection
from amif_lightning.data.loading.options import QuestionOptions
from amif_lightning.data.loading.vqa_module import VQADataModule, validation_sample
from amif_lightning.data.loading.weighted import Mixed, check_weights
from amif_lightning.data.schema.answers import candidates
from amif_lightning.data.schema.question_splits import Splits
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

ELSEWHERE = "a mixture is scored on each of its parts, with that part's own candidates"


class QuestionMixture(VQADataModule):
    """Questions of several data sets in one training run.

    Each part keeps its own splits. Training rows go whose image another part, or any set of
    ``held_out``, validates or tests on, found by file name and by content; they are counted and
    printed. Candidates and vocabulary are those of all parts. Validation scores all parts' rows,
    each part apart as the stratum ``data/<data set>``; there is no joint test set: score the
    checkpoint on each part with its own candidates, ``test --data PART --ckpt_path CHECKPOINT``.

    Args:
        parts: The data sets, each of another class, all under one protocol. What decides their rows
            (root, splits, task ...) is theirs; sizes, tokenizer and loader options stand once,
            beside ``parts``.
        weights: How often an epoch shows each part (see data/loading/weighted.py); null: once.
        held_out: Further data sets that the weights will be scored on; none of their images is
            trained on.
        compare: How images are found in other sets: ``content``: by file name, and by what they
            look like; ``name``: by file name only, which reads no image.
        hashes: Folder that keeps what images look like, so that each is read once and not at
            every start; empty: nothing is kept.
        **kwargs: Arguments of :class:`VQADataModule`. ``validation_questions`` are shared out
            evenly among the parts.

    Raises:
        UserError: If parts, protocols and weights do not go together, or an option is out of range.
    """

    def __init__(
        self,
        parts: list[VQADataModule],
        weights: list[float] | None = None,
        held_out: list[VQADataModule] | None = None,
        compare: Compare = "content",
        hashes: str = "",
        **kwargs: Unpack[QuestionOptions],
    ) -> None:
        check_weights(len(parts), weights)
        protocols = {part.protocol for part in parts}
        if len(protocols) > 1:
            raise UserError(
                f"The parts of a mixture have the protocols {' and '.join(sorted(protocols))}, and "
                "its candidates can come from one only: give all parts the same protocol."
            )
        # What decides rows is the parts' own: given here it would do nothing, so it cannot be.
        super().__init__(
            root=folder_of(parts),
            protocol=parts[0].protocol,
            test_split="test",
            split_seed=parts[0].split_seed,
            validation_fraction=parts[0].validation_fraction,
            control=False,
            **kwargs,
        )
        check_choice("compare", compare, Compare)
        self.parts, self.weights = parts, weights
        self.held_out, self.compare, self.hashes = held_out or [], compare, hashes

    def prepare_data(self) -> None:
        """Let all data sets prepare themselves."""
        for module in (*self.parts, *self.held_out):
            module.prepare_data()

    def setup(self, stage: str) -> None:
        """As in the base; there is nothing to test or to predict.

        Raises:
            UserError: If a test or prediction is asked for, or rows are missing.
        """
        if stage in ("test", "predict"):
            names = " or ".join(part.dataset for part in self.parts)
            raise UserError(
                "A mixture has no test set of its own: score the checkpoint on each of its data "
                f"sets, `test --data {names} --ckpt_path CHECKPOINT`."
            )
        super().setup(stage)

    def training_texts(self) -> list[str]:
        """Those of all parts, one after the other."""
        return [text for part in self.parts for text in part.training_texts()]

    def selection(self) -> dict[str, str | int | float | bool]:
        """The selections of all parts, under their names, and what else was left out."""
        whole = left_out(self.held_out, self.compare)
        return joint_selection(type(self).__name__, self.parts, whole)

    def file_of(self, row: VQAExample) -> Path:
        """Where the part has the image."""
        part, original = self._originals[row.question_id]
        return part.file_of(original)

    # ---- rows ---------------------------------------------------------------------------------

    def read_release(self) -> Release:
        """The rows of all parts; images and groups are named ``<data set>/...``."""
        splits: dict[SplitName, list[VQAExample]] = {}
        for part in self.parts:
            for split, rows in part.release.splits.items():
                splits.setdefault(split, []).extend(_of_mixture(row) for row in rows)
        releases = [part.release for part in self.parts]
        return Release(
            dataset=type(self).__name__,
            layout=" + ".join(f"{one.dataset} {one.layout}" for one in releases),
            splits={split: tuple(rows) for split, rows in splits.items()},
            absent=_absent(releases),
            dropped=tuple(row for one in releases for row in one.dropped),
            notes=tuple(f"{one.dataset}: {note}" for one in releases for note in one.notes),
        )

    @cached_property
    def splits(self) -> Splits:
        """The parts' own partitions joined, less training images that another set scores."""
        check_parts(self.parts, self.held_out)
        joined = [part.splits for part in self.parts]
        named = {r.question_id: r for rows in self.release.splits.values() for r in rows}
        dropped = [row for one in joined for row in one.dropped]
        train: list[VQAExample] = []
        validation: list[VQAExample] = []
        held_out = [all_of(module) for module in self.held_out]
        looks = looks_from(self.hashes)
        for part in self.parts:
            others = [other for other in self.parts if other is not part]
            own = part.splits
            # An image that another set tests must not choose checkpoints either.
            for rows, scored, kept in (
                (own.train, [scored_of(other) for other in others], train),
                (own.validation, [tested_of(other) for other in others], validation),
            ):
                reasons = self._reasons(part, rows, [*scored, *held_out], looks)
                kept += [named[r.question_id] for r in rows if r.question_id not in reasons]
                dropped += [
                    DroppedRow(row.question_id, reasons[row.question_id], row.image)
                    for row in rows
                    if row.question_id in reasons
                ]
        answer_rows = tuple(named[r.question_id] for one in joined for r in one.answer_rows)
        return Splits(
            dataset=type(self).__name__,
            layout=self.release.layout,
            protocol=self.protocol,
            test_split="test",
            released_train=self.release.splits["train"],
            train=tuple(train),
            validation=tuple(validation),
            test=(),
            dropped=tuple(dropped),
            held_out_from_train=any(one.held_out_from_train for one in joined),
            candidates=tuple(candidates(answer_rows)),
            answer_rows=answer_rows,
            absent=_absent(joined) | {"test": ELSEWHERE},
            notes=(
                *(f"{one.dataset}: {note}" for one in joined for note in one.notes),
                *not_compared(
                    [
                        *((part.release, scored_of(part)) for part in self.parts),
                        *((m.release, all_of(m)) for m in self.held_out),
                    ],
                    self.compare,
                ),
            ),
        )

    def _reasons(
        self, part: VQADataModule, rows: Sequence[VQAExample], scored: Sequence[Scored], looks: Look
    ) -> dict[str, str]:
        """Why rows of a part must go, by question id: for their image or for its patient."""
        first = {row.image_key: row for row in reversed(rows)}
        reasons = reasons_to_go(
            {image: part.image_id_of(row) for image, row in first.items()},
            {image: part.file_of(row) for image, row in first.items()},
            scored,
            self.compare,
            looks,
        )
        groups = {first[image].group for image in reasons if first[image].group}
        return {
            row.question_id: reasons.get(row.image_key, PATIENT)
            for row in rows
            if row.image_key in reasons or row.group in groups
        }

    @cached_property
    def _originals(self) -> Mapping[str, tuple[VQADataModule, VQAExample]]:
        """The part and its own row, by question id."""
        return {
            row.question_id: (part, row)
            for part in self.parts
            for rows in part.release.splits.values()
            for row in rows
        }

    # ---- loaders ------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[VQABatch]:
        """Shuffled groups of all parts, each as often as its weight says."""
        groups = self._train_groups()
        counts = Counter(groups.sources())
        sizes = [counts[part.dataset] for part in self.parts]
        data = Mixed(groups, sizes, self.weights, self.seed)
        return self._train_loader(data, len(data), self._collate, drop_last=False)

    def _validation_sample(self, rows: Sequence[VQAExample]) -> list[VQAExample]:
        share = max(1, self.validation_questions // len(self.parts))
        return [
            row
            for part in self.parts
            for row in validation_sample([r for r in rows if r.source == part.dataset], share)
        ]


def _of_mixture(row: VQAExample) -> VQAExample:
    """The row with image and group named ``<data set>/...``, since names repeat across sets."""
    source = row.question_id.partition("/")[0]
    return replace(
        row,
        image_key=f"{source}/{row.image_key}",
        image=f"{source}/{row.image}",
        group=f"{source}/{row.group}" if row.group else "",
        source=source,
    )


def _absent(parts: Sequence[Release] | Sequence[Splits]) -> dict[str, str]:
    return {
        f"{part.dataset} {what}": sentence
        for part in parts
        for what, sentence in part.absent.items()
    }
