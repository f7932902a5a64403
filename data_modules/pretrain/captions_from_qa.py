"""Captions made of a VQA data set's training questions and answers: a corpus without reports."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from amif_lightning.data.leakage.held_out import (
    NAME,
    Scored,
    all_of,
    looks_from,
    not_compared,
    reasons_to_go,
    scored_of,
)
from amif_lightning.data.loading.options import CorpusOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.questions import DroppedRow, VQAExample
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

NO_FILE = "the image is not on disk"


class CaptionsFromQA(StudyDataModule):
    """Images with captions made of their questions and answers, ``Is it CT? yes. Which ...``.

    The captions come from the training rows of ``source`` under the protocol ``clean``, never from
    its validation or test rows. Images that a validation or test set of ``source`` holds as well,
    or any set of ``held_out``, by file name or by content, are left out, counted and printed. A
    part of what remains is held out for validation; there is no test split.

    Args:
        source: The VQA data set. Its split options decide which rows train, so give those of the
            run that learns to answer afterwards.
        held_out: Further VQA data sets that the weights will be scored on. None of their images
            is seen, those of their training rows included: another split seed
            validates on other ones of them.
        hashes: Folder that keeps what images look like, so that each is read once and not at
            every start; empty: nothing is kept.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If the source's protocol is not ``clean``, or an option is out of range.
    """

    def __init__(
        self,
        source: VQADataModule,
        held_out: list[VQADataModule] | None = None,
        hashes: str = "",
        **kwargs: Unpack[CorpusOptions],
    ) -> None:
        super().__init__(
            root=str(source.root),
            split_seed=source.split_seed,
            validation_fraction=source.validation_fraction,
            **kwargs,
        )
        if source.protocol != "clean":
            raise UserError(
                f"CaptionsFromQA takes training rows under the protocol clean, and its source has "
                f"{source.protocol}: give --data.init_args.source.init_args.protocol clean."
            )
        self.source, self.held_out, self.hashes = source, held_out or [], hashes

    def prepare_data(self) -> None:
        """Let the VQA data sets prepare themselves, then as in the base."""
        for module in (self.source, *self.held_out):
            module.prepare_data()
        super().prepare_data()

    def read_release(self) -> StudyRelease:
        """Make the captions, less those of images that are scored somewhere.

        Raises:
            UserError: If a release cannot be read or an image is damaged.
        """
        parts = self.source.splits
        of_image: dict[str, list[VQAExample]] = defaultdict(list)
        for row in parts.train:
            of_image[row.image_key].append(row)
        paths = {image: group[0].image for image, group in of_image.items()}
        files = {image: self.source.file_of(group[0]) for image, group in of_image.items()}
        on_disk = {image for image, file in files.items() if file.is_file()}
        held_out = [all_of(module) for module in self.held_out]
        # Within one data set the identity tells images apart: names may count anew in each split.
        own = scored_of(self.source)
        reasons = reasons_to_go(
            {image: self.source.image_id_of(group[0]) for image, group in of_image.items()},
            files,
            [*held_out, replace(own, names=())],
            looks=looks_from(self.hashes),
        )
        reasons |= {i: NO_FILE for i in paths if i not in on_disk and i not in reasons}
        reasons |= dict.fromkeys(paths.keys() & self._own_identities(), NAME)
        # In released order, as the captions are.
        reasons = {image: reasons[image] for image in paths if image in reasons}
        releases = (self.source.release, *(module.release for module in self.held_out))
        return StudyRelease(
            dataset=parts.dataset,
            layout=parts.layout,
            splits={
                "train": tuple(
                    self._study(image, group)
                    for image, group in of_image.items()
                    if image not in reasons
                )
            },
            absent={"test": "captions are made of training rows only"},
            dropped=tuple(
                DroppedRow(f"{parts.dataset}/{image}", reason, paths[image])
                for image, reason in reasons.items()
            ),
            notes=(
                f"captions from {len(of_image)} training images' questions and answers",
                *(
                    f"{number} questions are in no caption: {reason}"
                    for reason, number in Counter(row.reason for row in parts.dropped).items()
                ),
                *not_compared(zip(releases, (own, *held_out), strict=True)),
            ),
        )

    def _study(self, image: str, rows: Sequence[VQAExample]) -> StudyRow:
        dataset, text = self.source.dataset, caption(rows)
        shown = StudyImage(f"{dataset}/{rows[0].image}", self.source.file_of(rows[0]))
        return StudyRow(
            study_id=f"{dataset}/{image}",
            split="train",
            images=(shown,),
            text=text,
            finding=normalise(text),  # a search cannot tell images of equal captions apart
            group=rows[0].group,
        )

    def _own_identities(self) -> set[str]:
        """Images of the source's validation and test rows, and of the hold-out."""
        released = [r for split, r in self.source.release.splits.items() if split != "train"]
        held_out = [*released, self.source.splits.validation]
        return {row.image_key for rows in held_out for row in rows}

    def scored(self) -> Scored:
        """What is held out here, and what the questions' own data set validates and tests on."""
        own, source = super().scored(), scored_of(self.source)
        return Scored(names=(*own.names, *source.names), files={**own.files, **source.files})

    def training_texts(self) -> list[str]:
        """The source's, so that both stages of a run build the same table."""
        return self.source.training_texts()

    def selection(self) -> dict[str, str | int | float | bool]:
        """The source's, which answering afterwards must share, and what else was left out."""
        names = ", ".join(sorted({module.dataset for module in self.held_out}))
        return self.source.selection() | ({"held_out": names} if names else {})


def caption(rows: Iterable[VQAExample]) -> str:
    """A text of questions and their answers, in released order, equal pairs once."""
    pairs = (f"{row.question.rstrip(' ?.:')}? {row.answer.rstrip(' .')}." for row in rows)
    return collapse(" ".join(dict.fromkeys(pairs)))
