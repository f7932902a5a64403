"""Image captions built from the training questions and answers of a VQA data set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from amif_lightning.data.leakage.held_out import (
    NAME,
    DatasetImages,
    hashes_of,
    leaking_images,
    not_compared,
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
    """Images with captions built from their questions and answers, ``Is it CT? yes. Which ...``.

    Captions only use the training rows of ``source`` under ``clean`` or ``disjoint``. Images that
    also occur in its validation or test set or in any set of ``held_out``, by file name or content,
    are dropped and counted. Validation is held out from the remaining images; there is no test
    split.

    Args:
        source: The VQA data set, with the split options of the fine-tuning run that follows.
        held_out: Other VQA data sets that the weights will be scored on. All of their images are
            excluded, since another split seed may validate on any training image.
        hashes: Folder that caches perceptual hashes of the images.
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If the source's protocol is ``literature``, or an option is out of range.
    """

    def __init__(
        self,
        source: VQADataModule,
        held_out: list[VQADataModule] | None = None,
        hashes: str = "data/hashes",
        **kwargs: Unpack[CorpusOptions],
    ) -> None:
        super().__init__(
            root=str(source.root),
            split_seed=source.split_seed,
            validation_fraction=source.validation_fraction,
            **kwargs,
        )
        if source.protocol == "literature":
            raise UserError(
                "CaptionsFromQA takes training rows under the protocol clean, but its source has "
                f"{source.protocol}: give --data.init_args.source.init_args.protocol clean."
            )
        self.source, self.held_out, self.hashes = source, held_out or [], hashes

    def prepare_data(self) -> None:
        """Prepare the VQA data sets, hash their images and prepare the teacher."""
        for module in (self.source, *self.held_out):
            module.prepare_data()
        hashes_of((self.source, *self.held_out), self.hashes)
        super().prepare_data()

    def read_release(self) -> StudyRelease:
        """Build captions for the images that are not scored in any data set.

        Raises:
            UserError: If a release cannot be read or an image is damaged.
        """
        parts, dataset = self.source.splits, self.source.dataset
        of_image: dict[str, list[VQAExample]] = defaultdict(list)
        for row in parts.train:
            of_image[row.image_key].append(row)
        names = {image: f"{dataset}/{rows[0].image}" for image, rows in of_image.items()}
        files = {names[image]: self.source.file_of(rows[0]) for image, rows in of_image.items()}
        # Images of the same data set are compared by key and content, since file names may repeat.
        own = self.source.scored_images()
        leaking = leaking_images(
            files,
            [images for module in self.held_out for images in module.released_images()],
            hashes_of((self.source, *self.held_out), self.hashes),
            by_content_only=own,
        )
        released = [r for split, r in self.source.release.splits.items() if split != "train"]
        held_out = {row.image_key for rows in (*released, parts.validation) for row in rows}
        reasons = {}
        for image, name in names.items():
            if image in held_out:
                reasons[image] = NAME
            elif name in leaking:
                reasons[image] = leaking[name]
            elif not files[name].is_file():
                reasons[image] = NO_FILE
        studies = [self._study(i, rows) for i, rows in of_image.items() if i not in reasons]
        return StudyRelease(
            dataset=dataset,
            layout=parts.layout,
            splits={"train": tuple(studies)},
            absent={"test": "captions are made of training rows only"},
            dropped=tuple(
                DroppedRow(f"{dataset}/{image}", reason, of_image[image][0].image)
                for image, reason in reasons.items()
            ),
            notes=(
                f"captions from {len(of_image)} training images' questions and answers",
                *(
                    f"{number} questions are in no caption: {reason}"
                    for reason, number in Counter(row.reason for row in parts.dropped).items()
                ),
                *not_compared(self.source, own),
                *(note for m in self.held_out for note in not_compared(m, m.released_images())),
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
            finding=normalise(text),  # retrieval cannot distinguish images of equal captions
            group=rows[0].group,
        )

    def scored_images(self) -> list[DatasetImages]:
        """Return the captions' validation images and the source's validation and test images."""
        return [*super().scored_images(), *self.source.scored_images()]

    def training_texts(self) -> list[str]:
        """Return the source's texts, so that both stages build the same token table."""
        return self.source.training_texts()

    def selection(self) -> dict[str, str | int | float | bool]:
        """Return the source's selection, which fine-tuning must share, and the held-out sets."""
        names = ", ".join(sorted({module.dataset for module in self.held_out}))
        return self.source.selection() | ({"held_out": names} if names else {})


def caption(rows: Iterable[VQAExample]) -> str:
    """Join distinct pairs of question and answer in released order."""
    pairs = (f"{row.question.rstrip(' ?.:')}? {row.answer.rstrip(' .')}." for row in rows)
    return collapse(" ".join(dict.fromkeys(pairs)))
