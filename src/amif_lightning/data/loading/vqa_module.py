"""The base of all question answering data modules.

A subclass reads its release; everything else (protocol, candidates, tokens, loaders, audit, the
facts that a record must carry) is here and therefore the same for every data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.arguments import check_choice, check_minimum
from amif_lightning.batch import VQABatch
from amif_lightning.data.audit.evaluation_context import evaluation_context, shared_image_warnings
from amif_lightning.data.audit.questions import Audit, audit
from amif_lightning.data.audit.truncation import cut_sentences
from amif_lightning.data.files.reduced_copies import resized_path
from amif_lightning.data.leakage.dataset_images import DatasetImages
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.loading.options import TextOptions
from amif_lightning.data.loading.question_dataset import (
    Encoder,
    ImageCache,
    QuestionGroups,
    QuestionSample,
    make_batch,
    other_images,
)
from amif_lightning.data.preprocessing.transforms import ImageTransform
from amif_lightning.data.schema import answers
from amif_lightning.data.schema.answers import VocabularyKind
from amif_lightning.data.schema.question_splits import (
    EvaluationSplit,
    Protocol,
    Splits,
    split_questions,
)
from amif_lightning.data.schema.questions import SplitName, VQAExample
from amif_lightning.data.schema.subsets import subsets_of
from amif_lightning.errors import UserError
from amif_lightning.evaluation import EvaluationContext
from amif_lightning.seeding import stable_seed
from amif_lightning.signatures import Unpack


class VQADataModule(TextDataModule[VQAExample]):
    """Questions about medical images, split by a protocol, as batches for :class:`AMiFVQA`.

    Args:
        root: Folder of the data set.
        protocol: ``clean``: candidates from training answers only, leaking rows dropped and
            counted; ``literature``: candidates from all splits, as many papers do, and every output
            is labelled so (documented under "Protocols" in docs/datasets.md).
        test_split: Which released split is scored by ``test``; with ``validation`` the checkpoint
            is chosen on a hold-out from the training images instead.
        questions_per_image: Most questions of one image in a training step; the image is encoded
            once for all of them.
        max_question_tokens: Most tokens of a question, [CLS] and [SEP] included.
        max_answer_tokens: Most tokens of an answer, [CLS] and [SEP] included.
        vocabulary: What the knowledge attention reads: ``words`` of the training answers or whole
            ``answers``.
        vocabulary_size: Most entries of that vocabulary, by frequency.
        validation_questions: During training, rank a fixed seeded sample of this many questions.
        control: Score the test questions a second time with the images permuted among them.
        **kwargs: Arguments of :class:`TextDataModule`; a training step holds ``batch_size`` images
            and up to ``questions_per_image`` times as many questions.

    Raises:
        UserError: If a number is out of range, or the protocol, test split, vocabulary or
            augmentation is unknown.
    """

    def __init__(
        self,
        root: str,
        protocol: Protocol = "clean",
        test_split: EvaluationSplit = "test",
        questions_per_image: int = 1,
        max_question_tokens: int = 30,
        max_answer_tokens: int = 64,
        vocabulary: VocabularyKind = "words",
        vocabulary_size: int = 3000,
        validation_questions: int = 400,
        control: bool = True,
        **kwargs: Unpack[TextOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_minimum(
            {
                "questions_per_image": (questions_per_image, 1),
                "max_question_tokens": (max_question_tokens, 3),  # [CLS], one token, [SEP]
                "max_answer_tokens": (max_answer_tokens, 3),
                "vocabulary_size": (vocabulary_size, 1),
                "validation_questions": (validation_questions, 1),
            }
        )
        check_choice("protocol", protocol, Protocol)
        check_choice("test_split", test_split, EvaluationSplit)
        check_choice("vocabulary", vocabulary, VocabularyKind)
        self.protocol, self.test_split = protocol, test_split
        self.questions_per_image = questions_per_image
        self.max_question_tokens, self.max_answer_tokens = max_question_tokens, max_answer_tokens
        self.vocabulary_kind, self.vocabulary_size = vocabulary, vocabulary_size
        self.validation_questions, self.control = validation_questions, control

    # ---- what a data set is -------------------------------------------------------------------

    kind = "questions"

    def file_of(self, row: VQAExample) -> Path:
        """Where the image that a row asks about lies."""
        return self.root / row.image

    def image_id_of(self, row: VQAExample) -> str:
        """``<data set>/<path in the release>``, which names the image among all data sets."""
        return row.image if row.source else f"{self.dataset}/{row.image}"

    def images_shown(self, row: VQAExample) -> dict[str, Path]:
        """The image that a question asks about."""
        return {self.image_id_of(row): self.file_of(row)}

    @property
    def protocol_label(self) -> str:
        """The protocol as records name it."""
        return self.splits.label

    def images_of(self, split: SplitName) -> DatasetImages:
        """The images of one split in the role that it has for scoring.

        Args:
            split: ``validation``: what checkpoints are chosen on; ``test``: what is scored, and
                the released test set also where another set takes its role; ``train``: the
                released training questions that do not validate.
        """
        parts = self.splits
        if split == "validation":
            return self.images_in(parts.validation)
        if split == "test":
            return self.images_in([*parts.test, *self.release.splits.get("test", ())])
        held_out = {row.question_id for row in parts.validation}
        return self.images_in(r for r in parts.released_train if r.question_id not in held_out)

    def _shown_file(self, row: VQAExample) -> Path:
        """What the loaders read: the released image or its reduced copy."""
        if self.resized is None:
            return self.file_of(row)
        return resized_path(self.resized, self.image_id_of(row))

    def training_texts(self) -> list[str]:
        """Texts that the ``words`` table is built from: questions and answers of training rows."""
        rows = self.splits.released_train
        return [row.question for row in rows] + [row.references[0] for row in rows]

    # ---- derived once, from files alone -------------------------------------------------------

    @cached_property
    def splits(self) -> Splits:
        """Who trains, validates and tests under the protocol."""
        return split_questions(
            self.release,
            self.protocol,
            split_seed=self.split_seed,
            validation_fraction=self.validation_fraction,
            test_split=self.test_split,
        )

    @cached_property
    def strata(self) -> tuple[str, ...]:
        """Names of all strata that occur, ``overall`` first."""
        parts = self.splits
        names = {n for r in (*parts.train, *parts.validation, *parts.test) for n in subsets_of(r)}
        return ("overall", *sorted(names - {"overall"}))

    def answer_space(self) -> AnswerSpace:
        """Candidates and vocabulary of the protocol, as token ids of the present tokenizer.

        A candidate keeps its first ``max_answer_tokens - 2`` tokens; ``audit`` says how many are
        cut and how many can no longer be told apart. A vocabulary entry without any token, such as
        a lone accent, has no vector and is left out.
        """
        tokenizer, parts = self.tokenizer, self.splits
        limit = self.max_answer_tokens - 2
        entries = {
            entry: tuple(tokenizer.pieces(entry))
            for entry in answers.vocabulary(
                parts.answer_rows, self.vocabulary_kind, self.vocabulary_size
            )
        }
        empty = [entry for entry, ids in entries.items() if not ids]
        if empty:
            rank_zero_info(
                f"{parts.dataset}: {len(empty)} of {len(entries)} vocabulary entries have no token "
                f"and are left out (first: {empty[0]!r})"
            )
        vocabulary = {entry: ids for entry, ids in entries.items() if ids}
        return replace(
            super().answer_space(),
            protocol=self.protocol,
            candidates=tuple(parts.candidates),
            candidate_ids=tuple(tuple(tokenizer.pieces(c)[:limit]) for c in parts.candidates),
            vocabulary=tuple(vocabulary),
            vocabulary_ids=tuple(vocabulary.values()),
            question_tokens=self.max_question_tokens,
            answers_from=parts.answers_from,
        )

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, and which released split is scored."""
        return super().selection() | {"test_split": self.test_split}

    def _notes(self) -> list[str]:
        return [*self.splits.notes, *shared_image_warnings(self.splits)]

    def evaluation_context(self) -> EvaluationContext:
        """What a record of the tested questions must say apart from the model."""
        return evaluation_context(self.splits, self._named_file, self.warnings())

    def _named_file(self, row: VQAExample) -> str:
        """A row's image below the root, so that records hold on another machine; or in full."""
        path = self.file_of(row)
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        )

    def audit(self, check_images: bool = True) -> Audit:
        """Count, compare and judge this set-up; see :mod:`amif_lightning.data.audit.questions`.

        Args:
            check_images: Whether to decode every image once.
        """
        try:
            cut = cut_sentences(
                self.splits, self.tokenizer, self.max_question_tokens, self.max_answer_tokens
            )
        except UserError as error:
            cut = [f"cut texts are not counted: {error}"]
        return audit(self.splits, self.release, self.file_of, cut, check_images)

    # ---- Lightning ----------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Nothing is downloaded; the files must be under ``root``."""

    @property
    def _encoder(self) -> Encoder:
        return Encoder(
            self.tokenizer, self.max_question_tokens, self.max_answer_tokens, self.strata
        )

    def _cache_keys(self, rows: Iterable[VQAExample]) -> Iterable[str]:
        return (row.image_key for row in rows)

    @property
    def _collate(self) -> Callable[[Sequence[QuestionSample]], VQABatch]:
        return partial(make_batch, pad_id=self.tokenizer.pad_id)

    def train_dataloader(self) -> DataLoader[VQABatch]:
        """Shuffled groups; an interrupted epoch continues with the samples not yet seen."""
        data = self._train_groups()
        return self._train_loader(data, len(data), self._collate, drop_last=False)

    def _train_groups(self) -> QuestionGroups:
        return QuestionGroups(
            self.splits.train,
            self._shown_file,
            self._train_transform,
            self._encoder,
            self.questions_per_image,
            shuffle=True,
            seed=self.seed,
            cache=self._train_cache,
        )

    def val_dataloader(self) -> DataLoader[VQABatch]:
        """The validation rows; while training, a fixed seeded sample of them."""
        rows = list(self.splits.validation)
        if self.trainer is not None and self.trainer.state.fn == "fit":
            rows = self._validation_sample(rows)
        return self._evaluation_loader(rows, cache=self._validation_cache)

    def _validation_sample(self, rows: Sequence[VQAExample]) -> list[VQAExample]:
        """The questions that are ranked during training, the same in every run."""
        return validation_sample(rows, self.validation_questions)

    def test_dataloader(self) -> list[DataLoader[VQABatch]]:
        """The test rows, then (as a second loader) the same with other images, the control."""
        rows = self.splits.test
        loaders = [self._evaluation_loader(rows)]
        if self.control:
            shown = other_images([row.image_key for row in rows], self.split_seed)
            loaders.append(self._evaluation_loader(rows, shown=shown))
        return loaders

    def predict_dataloader(self) -> DataLoader[VQABatch]:
        """The test rows."""
        return self._evaluation_loader(self.splits.test)

    def _evaluation_loader(
        self,
        rows: Sequence[VQAExample],
        *,
        cache: ImageCache | None = None,
        shown: dict[str, str] | None = None,
    ) -> DataLoader[VQABatch]:
        data = QuestionGroups(
            rows,
            self._shown_file,
            ImageTransform(self.image_size),
            self._encoder,
            per_image=8,  # bounds the questions of a batch when one image has dozens
            cache=cache,
            shown=shown,
        )
        return self._shard_loader(data, len(data), self._collate)


def validation_sample(rows: Sequence[VQAExample], max_questions: int) -> list[VQAExample]:
    """At most ``max_questions`` questions, chosen by a hash of their ids."""
    ranked = sorted(rows, key=lambda row: stable_seed("validation sample", row.question_id))
    return ranked[:max_questions]
