"""Base of all question answering data modules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.arguments import check_choice, check_minimum
from amif_lightning.data.audit.questions import (
    Audit,
    audit,
    cut_sentences,
    evaluation_context,
    shared_image_warnings,
)
from amif_lightning.data.files.names import under
from amif_lightning.data.files.parquet import ParquetQuestions, find_parquet
from amif_lightning.data.files.tables import check_folder
from amif_lightning.data.leakage.held_out import DatasetImages, disjoint
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.loading.options import TextOptions, VQAOptions
from amif_lightning.data.loading.question_dataset import (
    BLANK,
    QuestionCollator,
    QuestionGroups,
    other_images,
)
from amif_lightning.data.loading.token_cache import CacheType, TokenTable, image_table, text_table
from amif_lightning.data.preprocessing.images import BLANK_IMAGE
from amif_lightning.data.preprocessing.normalization import words_in
from amif_lightning.data.preprocessing.transforms import DecodedImages, ImageTransform
from amif_lightning.data.schema import answers
from amif_lightning.data.schema.answers import VocabularyKind, subsets_of
from amif_lightning.data.schema.question_splits import (
    EvaluationSplit,
    Splits,
    split_questions,
)
from amif_lightning.data.schema.questions import SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.evaluation import EvaluationContext, Protocol
from amif_lightning.seeding import stable_seed
from amif_lightning.signatures import Unpack


class VQADataModule(TextDataModule[VQAExample]):
    """Questions about medical images, split by a protocol, as batches for :class:`AMiFVQA`.

    Args:
        root: Folder of the data set.
        protocol: ``clean``: candidates from training answers only, leaking rows dropped and
            counted; ``disjoint``: also without training rows that share an image or a patient with
            validation or test; ``literature``: candidates from all splits, as in many papers, with
            every output labelled (see "Protocols" in docs/datasets.md).
        test_split: The released split that ``test`` scores; ``validation`` selects checkpoints on a
            hold-out from the training images instead.
        questions_per_image: Maximum questions of one image in a training step; they share one
            encoding of the image.
        max_question_tokens: Maximum tokens of a question, [CLS] and [SEP] included.
        max_answer_tokens: Maximum tokens of an answer, [CLS] and [SEP] included.
        vocabulary: Entries of the knowledge attention: ``words`` of the training answers or whole
            ``answers``.
        vocabulary_size: Maximum entries of that vocabulary, by frequency.
        validation_questions: During training, rank a fixed seeded sample of this many questions.
        control: Also score the test questions with permuted and with blank images.
        hashes: Folder that caches the perceptual hashes by which ``disjoint`` compares images.
        token_cache: Folder for the tokens of frozen encoders (``model.init_args.freeze_vision``,
            ``freeze_text``), which are computed once and then read; empty: computed in every step.
            A frozen image encoder needs augmentation ``none``.
        cache_dtype: Type of the cached tokens: ``float16`` (half the disk space) or ``float32``.
        **kwargs: Arguments of :class:`TextDataModule`; a training step holds ``batch_size`` images
            and up to ``questions_per_image`` times as many questions.
    """

    kind = "questions"
    drop_last = False
    #: Whether near-duplicates are the same image under ``disjoint``, beside images of equal key.
    compares_content: ClassVar[bool] = True

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
        hashes: str = "data/hashes",
        token_cache: str = "",
        cache_dtype: CacheType = "float16",
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
        check_choice("cache_dtype", cache_dtype, CacheType)
        self.token_cache = Path(token_cache) if token_cache else None
        self.cache_dtype = cache_dtype
        self.protocol, self.test_split = protocol, test_split
        self.questions_per_image = questions_per_image
        self.max_question_tokens, self.max_answer_tokens = max_question_tokens, max_answer_tokens
        self.vocabulary_kind, self.vocabulary_size = vocabulary, vocabulary_size
        self.validation_questions, self.control = validation_questions, control
        self.hashes = hashes

    # ---- the data set -------------------------------------------------------------------------

    row_options = (*TextDataModule.row_options, "test_split")

    def file_of(self, row: VQAExample) -> Path:
        """Return the file of a question's image."""
        return under(self.root, row.image)

    def image_id_of(self, row: VQAExample) -> str:
        """Return ``<data set>/<path in the release>``, unique over all data sets."""
        return row.image if row.source else f"{self.dataset}/{row.image}"

    def images_shown(self, row: VQAExample) -> dict[str, Path]:
        """Return the file of a question's image by image id."""
        return {self.image_id_of(row): self.file_of(row)}

    @property
    def protocol_label(self) -> str:
        """The protocol's name in records."""
        return self.splits.label

    def images_of(self, split: SplitName) -> DatasetImages:
        """Return the images of one split.

        ``test`` includes the released test set, whichever split is scored. ``train`` holds the
        released training questions without those held out for validation.
        """
        parts = self.splits
        if split == "validation":
            return self.images_in(parts.validation)
        if split == "test":
            return self.images_in([*parts.test, *self.release.splits.get("test", ())])
        held_out = {row.question_id for row in parts.validation}
        return self.images_in(r for r in parts.released_train if r.question_id not in held_out)

    def training_texts(self) -> list[str]:
        """Return questions and answers of the training rows."""
        rows = self.splits.baseline_rows("test")
        return [row.question for row in rows] + [row.references[0] for row in rows]

    @cached_property
    def splits(self) -> Splits:
        """The training, validation and test questions under the protocol."""
        parts = split_questions(
            self.release,
            self.protocol,
            split_seed=self.split_seed,
            validation_fraction=self.validation_fraction,
            test_split=self.test_split,
        )
        return disjoint(self, parts) if self.protocol == "disjoint" else parts

    @cached_property
    def strata(self) -> tuple[str, ...]:
        """Names of all occurring strata, ``overall`` first."""
        parts = self.splits
        names = {n for r in (*parts.train, *parts.validation, *parts.test) for n in subsets_of(r)}
        return ("overall", *sorted(names - {"overall"}))

    def answer_space(self) -> AnswerSpace:
        """Return candidates and vocabulary of the protocol as token ids.

        A candidate keeps its first ``max_answer_tokens - 2`` tokens; ``audit`` counts truncated and
        equal ones. Vocabulary entries without tokens, such as a lone accent, are dropped.
        """
        tokenizer, parts = self.tokenizer, self.splits
        limit = self.max_answer_tokens - 2
        entries = answers.vocabulary(parts.answer_rows, self.vocabulary_kind, self.vocabulary_size)
        ids = {entry: tuple(tokenizer.pieces(entry)) for entry in entries}
        if empty := [entry for entry in ids if not ids[entry]]:
            rank_zero_info(
                f"{parts.dataset}: {len(empty)} of {len(ids)} vocabulary entries have no token "
                f"and are left out (first: {empty[0]!r})"
            )
        return replace(
            super().answer_space(),
            protocol=self.protocol,
            candidates=tuple(parts.candidates),
            candidate_ids=tuple(tuple(tokenizer.pieces(c)[:limit]) for c in parts.candidates),
            vocabulary=tuple(entry for entry in ids if ids[entry]),
            vocabulary_ids=tuple(filter(None, ids.values())),
            question_tokens=self.max_question_tokens,
            answers_from=parts.answers_from,
            question_words=tuple(sorted({w for r in parts.train for w in words_in(r.question)})),
        )

    def warnings(self) -> list[str]:
        """Return the protocol's notes, images shared between splits, and counts of dropped rows."""
        return [*self.splits.notes, *shared_image_warnings(self.splits), *self._dropped()]

    def evaluation_context(self) -> EvaluationContext:
        """Return the part of a record that describes the test questions."""
        return evaluation_context(self.splits, self._named_file, self.warnings())

    def _named_file(self, row: VQAExample) -> str:
        """Path of a row's image relative to the root if possible, valid on other machines."""
        path = self.file_of(row)
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        )

    def audit(self, check_images: bool = True) -> Audit:
        """Count and check the questions; ``check_images`` decodes every image once."""
        try:
            cut = cut_sentences(
                self.splits, self.tokenizer, self.max_question_tokens, self.max_answer_tokens
            )
        except UserError as error:
            cut = [f"cut texts are not counted: {error}"]
        limit = self.max_image_pixels if check_images else None
        return audit(self.splits, self.release, self.file_of, cut, limit)

    # ---- Lightning ----------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Do nothing: the files must be under ``root``."""

    @property
    def _collate(self) -> QuestionCollator:
        return QuestionCollator(
            self.tokenizer,
            self.max_question_tokens,
            self.max_answer_tokens,
            self.strata,
            self._question_states(),
        )

    def _question_states(self) -> TokenTable[tuple[int, ...]] | None:
        """The cached states of all questions; None if they are encoded in every step.

        Looked up for each loader, because the next one may belong to another task.
        """
        parts = self.splits
        asked = {row.question for row in (*parts.train, *parts.validation, *parts.test)}
        return text_table(self, asked)

    def _train_data(self) -> Any:
        return self._groups(
            self.splits.train,
            self._train_transform,
            self.questions_per_image,
            shuffle=True,
            seed=self.seed,
            cache=self._train_cache,
        )

    def _validation_rows(self) -> Sequence[VQAExample]:
        if self.trainer is None or self.trainer.state.fn != "fit":
            return self.splits.validation
        return self._validation_sample(self.splits.validation)

    def _validation_sample(self, rows: Sequence[VQAExample]) -> list[VQAExample]:
        """The questions to rank during training, the same in every run."""
        return validation_sample(rows, self.validation_questions)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Load the test rows, then for the controls with permuted and with blank images."""
        shown = self.control_images() if self.control else {}
        controls = (self._evaluation_data(self.splits.test, shown=to) for to in shown.values())
        return [self.predict_dataloader(), *map(self._evaluation_loader, controls)]

    def control_images(self) -> dict[str, dict[str, str]]:
        """Return the key of the image shown instead of each test image, by control."""
        keys = [row.image_key for row in self.splits.test]
        return {
            "shuffled": other_images(keys, self.split_seed),
            "blank": dict.fromkeys(keys, BLANK),
        }

    def _evaluation_data(
        self,
        rows: Sequence[VQAExample],
        cache: DecodedImages | None = None,
        shown: dict[str, str] | None = None,
    ) -> QuestionGroups:
        # 8 questions per group, since one image may have dozens.
        return self._groups(rows, ImageTransform(self.image_size), 8, cache=cache, shown=shown)

    def _groups(
        self, rows: Sequence[VQAExample], transform: ImageTransform, per_image: int, **options: Any
    ) -> QuestionGroups:
        files = self._files(rows)
        blank = BLANK in (options.get("shown") or {}).values()
        read = [BLANK_IMAGE] if blank else files.values()
        return QuestionGroups(
            rows,
            lambda row: files[self.image_id_of(row)],
            transform,
            per_image,
            max_pixels=self.max_image_pixels,
            tokens=image_table(self, read, transform.augmentation),
            **options,
        )


def validation_sample(rows: Sequence[VQAExample], max_questions: int) -> list[VQAExample]:
    """Return at most ``max_questions`` questions, chosen by a hash of their ids."""
    ranked = sorted(rows, key=lambda row: stable_seed("validation sample", row.question_id))
    return ranked[:max_questions]


#: Files of the training split in the layout ``hf``.
PARQUET = tuple(f"{folder}train{end}.parquet" for folder in ("data/", "") for end in ("-*", ""))


class HubQuestions(VQADataModule):
    """Base of a data set with several layouts; one of them, ``hf``, is the hub's parquet files.

    Args:
        root: Folder of the data set.
        layout: The layout to read; ``auto``: the first one in :attr:`layouts` with files on disk.
        unpacked: Folder for the images of parquet files, which are unpacked once.
        **kwargs: Arguments of :class:`VQADataModule`.
    """

    title: ClassVar[str]
    source: ClassVar[str]

    def __init__(
        self,
        root: str,
        layout: str = "auto",
        unpacked: str = "data/unpacked",
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        self.layout, self.unpacked = layout, Path(unpacked)

    @property
    @abstractmethod
    def layouts(self) -> Mapping[str, Sequence[str]]:
        """Patterns of the training file of each layout, the preferred layout first."""

    @cached_property
    def chosen_layout(self) -> str:
        """The layout to read; raises a UserError if the folder or the layout's files are absent."""
        check_folder(self.title, self.root, self.source)
        there = [
            name
            for name, patterns in self.layouts.items()
            if any(any(self.root.glob(pattern)) for pattern in patterns)
        ]
        if self.layout in there or (self.layout == "auto" and there):
            return there[0] if self.layout == "auto" else self.layout
        if self.layout == "auto":
            files = " nor ".join(f"'{patterns[0]}'" for patterns in self.layouts.values())
            raise UserError(
                f"{self.title}: neither {files} is in {self.root}, so download the data set from "
                f"{self.source} into it."
            )
        raise UserError(
            f"{self.title}: layout '{self.layout}' needs "
            f"{self.root / self.layouts[self.layout][0]}, which is not there: put it there "
            "(docs/datasets.md says where it comes from) or choose layout 'auto'."
        )

    @cached_property
    def parquet(self) -> ParquetQuestions | None:
        """The parquet files; None if another layout is read."""
        if self.chosen_layout != "hf":
            return None
        return ParquetQuestions(type(self).__name__, find_parquet(self.root), self.unpacked)

    def prepare_data(self) -> None:
        """Unpack the parquet files once, if they are read."""
        if self.parquet is not None:
            self.parquet.prepare()

    def file_of(self, row: VQAExample) -> Path:
        """Return the image file, below the root or where the parquet files were unpacked."""
        return super().file_of(row) if self.parquet is None else self.parquet.file_of(row)
