"""Several data sets of questions trained on together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from amif_lightning.data.leakage.held_out import not_compared
from amif_lightning.data.loading.mixture import MixtureModule, check_weights, folder_of
from amif_lightning.data.loading.options import QuestionOptions
from amif_lightning.data.loading.vqa_module import VQADataModule, validation_sample
from amif_lightning.data.schema.answers import candidates
from amif_lightning.data.schema.question_splits import Splits
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

ELSEWHERE = "a mixture is scored on each of its parts, with that part's own candidates"


class QuestionMixture(MixtureModule[VQAExample], VQADataModule):
    """Questions of several data sets in one training run, each with its own splits.

    Training rows are dropped and counted if their image is a validation or test image of another
    part or is in a set of ``held_out``, by file name or content. Candidates and vocabulary come
    from all parts. Validation scores all parts, each as the stratum ``data/<data set>``. There is
    no joint test set: score the checkpoint on each part with the part's candidates,
    ``test --data PART --ckpt_path CHECKPOINT``.

    Args:
        parts: The data sets, of different classes and under one protocol. They take the options
            that select rows (root, splits, task ...); the mixture takes sizes, tokenizer and loader
            options.
        weights: Passes per epoch of each part (see data/loading/mixture.py); null: one.
        held_out: Other data sets that the weights will be scored on; all of their images are
            excluded.
        hashes: Folder that caches perceptual hashes of the images.
        **kwargs: Arguments of :class:`VQADataModule`. ``validation_questions`` are divided evenly
            among the parts.

    Raises:
        UserError: If parts, protocols and weights do not match, or an option is out of range.
    """

    def __init__(
        self,
        parts: list[VQADataModule],
        weights: list[float] | None = None,
        held_out: list[VQADataModule] | None = None,
        hashes: str = "data/hashes",
        **kwargs: Unpack[QuestionOptions],
    ) -> None:
        check_weights(len(parts), weights)
        protocols = {part.protocol for part in parts}
        if len(protocols) > 1:
            raise UserError(
                f"The parts of a mixture have the protocols {' and '.join(sorted(protocols))}, but "
                "its candidates can follow only one: give all parts the same protocol."
            )
        # The parts take the options that select rows; here they would have no effect.
        VQADataModule.__init__(
            self,
            root=folder_of(parts),
            protocol=parts[0].protocol,
            test_split="test",
            split_seed=parts[0].split_seed,
            validation_fraction=parts[0].validation_fraction,
            control=False,
            hashes=hashes,
            **kwargs,
        )
        self.parts: Sequence[VQADataModule] = parts
        self.weights, self.held_out = weights, held_out or []

    def setup(self, stage: str) -> None:
        """Set up ``fit`` or ``validate``.

        Raises:
            UserError: For ``test`` and ``predict``, or if rows are missing.
        """
        if stage in ("test", "predict"):
            names = " or ".join(part.dataset for part in self.parts)
            raise UserError(
                "A mixture has no joint test set: score the checkpoint on each of its data "
                f"sets, `test --data {names} --ckpt_path CHECKPOINT`."
            )
        super().setup(stage)

    def file_of(self, row: VQAExample) -> Path:
        """Return the image file in the part."""
        part, original = self._originals[row.question_id]
        return part.file_of(original)

    def read_release(self) -> Release[VQAExample]:
        """Join the rows of all parts; rename images and groups to ``<data set>/...``."""
        splits: dict[SplitName, tuple[VQAExample, ...]] = {}
        for part in self.parts:
            for split, rows in part.release.splits.items():
                splits[split] = (*splits.get(split, ()), *map(_of_mixture, rows))
        dropped = (row for part in self.parts for row in part.release.dropped)
        return self._joined(splits, dropped, ())

    @cached_property
    def splits(self) -> Splits:
        """Return the joined splits, without training rows on images that another set scores."""
        self._check_parts()
        joined = [part.splits for part in self.parts]
        named = {r.question_id: r for rows in self.release.splits.values() for r in rows}
        kept, leaking = self._without_leaks(
            {
                "train": lambda other: other.scored_images(),
                # Test images of another set must not be used for checkpoint selection either.
                "validation": lambda other: [other.images_in(other.splits.test)],
            }
        )
        train = tuple(named[row.question_id] for row in kept["train"])
        answer_rows = tuple(named[r.question_id] for one in joined for r in one.answer_rows)
        if self.protocol == "disjoint":
            answer_rows = train
        scored = [(part, part.scored_images()) for part in self.parts]
        scored += [(module, module.released_images()) for module in self.held_out]
        dropped = [row for one in joined for row in one.dropped]
        images = {row: self._originals[row][1].image for row in leaking}
        dropped += [DroppedRow(row, reason, images[row]) for row, reason in leaking.items()]
        absent = {f"{s.dataset} {what}": why for s in joined for what, why in s.absent.items()}
        return Splits(
            dataset=type(self).__name__,
            layout=self.release.layout,
            protocol=self.protocol,
            test_split="test",
            released_train=self.release.splits["train"],
            train=train,
            validation=tuple(named[row.question_id] for row in kept["validation"]),
            test=(),
            dropped=tuple(dropped),
            held_out_from_train=any(one.held_out_from_train for one in joined),
            candidates=tuple(candidates(answer_rows)),
            answer_rows=answer_rows,
            absent={**absent, "test": ELSEWHERE},
            notes=(
                *(f"{one.dataset}: {note}" for one in joined for note in one.notes),
                *(note for module, images in scored for note in not_compared(module, images)),
            ),
        )

    @cached_property
    def _originals(self) -> Mapping[str, tuple[VQADataModule, VQAExample]]:
        """Return part and original row by question id."""
        return {
            row.question_id: (part, row)
            for part in self.parts
            for rows in part.release.splits.values()
            for row in rows
        }

    def _validation_sample(self, rows: Sequence[VQAExample]) -> list[VQAExample]:
        share = max(1, self.validation_questions // len(self.parts))
        return [
            row
            for part in self.parts
            for row in validation_sample([r for r in rows if r.source == part.dataset], share)
        ]


def _of_mixture(row: VQAExample) -> VQAExample:
    """Rename image and group to ``<data set>/...``, since names repeat across data sets."""
    source = row.question_id.partition("/")[0]
    return replace(
        row,
        image_key=f"{source}/{row.image_key}",
        image=f"{source}/{row.image}",
        group=f"{source}/{row.group}" if row.group else "",
        source=source,
    )
