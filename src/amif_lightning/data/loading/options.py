"""Typed dictionaries of the arguments that data modules pass on to their bases."""

from __future__ import annotations

from typing import Literal, TypedDict

from amif_lightning.data.loading.token_cache import CacheType
from amif_lightning.data.preprocessing.transforms import Augmentation
from amif_lightning.data.schema.answers import VocabularyKind
from amif_lightning.data.schema.question_splits import EvaluationSplit
from amif_lightning.evaluation import Protocol

TeacherName = Literal["none", "open_clip", "text", "checkpoint", "embeddings"]


class LoaderOptions(TypedDict, total=False):
    """Arguments of :class:`TextDataModule` except root, splits and augmentation."""

    batch_size: int
    eval_batch_size: int
    num_workers: int
    image_size: int
    tokenizer: str
    tokenizer_corpora: list[str] | None
    cache_images: bool
    resized: str
    max_image_pixels: int
    seed: int


class SplitOptions(LoaderOptions, total=False):
    """:class:`LoaderOptions` with the choice of validation rows."""

    split_seed: int
    validation_fraction: float


class TextOptions(SplitOptions, total=False):
    """All arguments of :class:`TextDataModule` except the root."""

    augmentation: Augmentation


class QuestionOptions(LoaderOptions, total=False):
    """Arguments of :class:`VQADataModule` except those that select rows."""

    augmentation: Augmentation
    questions_per_image: int
    max_question_tokens: int
    max_answer_tokens: int
    vocabulary: VocabularyKind
    vocabulary_size: int
    validation_questions: int
    token_cache: str
    cache_dtype: CacheType


class VQAOptions(QuestionOptions, SplitOptions, total=False):
    """All arguments of :class:`VQADataModule` except the root."""

    protocol: Protocol
    test_split: EvaluationSplit
    control: bool
    hashes: str


class HubOptions(VQAOptions, total=False):
    """All arguments of :class:`HubQuestions` except root and layout."""

    unpacked: str


class _StudyTexts(TypedDict, total=False):
    max_text_tokens: int
    teacher_source: str
    teacher_cache: str
    augmentation: Augmentation


class CorpusOptions(LoaderOptions, _StudyTexts, total=False):
    """Arguments of :class:`StudyDataModule` except those that select rows."""

    teacher: TeacherName


class GeneratedOptions(SplitOptions, _StudyTexts, total=False):
    """Arguments of :class:`StudyDataModule` except the root and the teacher's kind."""


class StudyOptions(GeneratedOptions, CorpusOptions, total=False):
    """All arguments of :class:`StudyDataModule` except the root."""
