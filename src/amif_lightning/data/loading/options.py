"""Types of the arguments that data modules hand on to their bases; the classes document them."""

from __future__ import annotations

from typing import Literal, TypedDict

from amif_lightning.data.preprocessing.transforms import Augmentation
from amif_lightning.data.schema.answers import VocabularyKind
from amif_lightning.data.schema.question_splits import EvaluationSplit, Protocol

TeacherName = Literal["none", "open_clip", "checkpoint", "embeddings"]


class LoaderOptions(TypedDict, total=False):
    """Arguments of :class:`TextDataModule` that say nothing about rows."""

    batch_size: int
    eval_batch_size: int
    num_workers: int
    image_size: int
    tokenizer: str
    tokenizer_corpora: list[str] | None
    cache_images: bool
    resized: str
    seed: int


class SplitOptions(LoaderOptions, total=False):
    """And those that choose the validation rows."""

    split_seed: int
    validation_fraction: float


class TextOptions(SplitOptions, total=False):
    """All arguments of :class:`TextDataModule` but the root."""

    augmentation: Augmentation


class QuestionOptions(LoaderOptions, total=False):
    """Arguments of :class:`VQADataModule` that say nothing about rows."""

    augmentation: Augmentation
    questions_per_image: int
    max_question_tokens: int
    max_answer_tokens: int
    vocabulary: VocabularyKind
    vocabulary_size: int
    validation_questions: int


class VQAOptions(QuestionOptions, total=False):
    """All arguments of :class:`VQADataModule` but the root."""

    split_seed: int
    validation_fraction: float
    protocol: Protocol
    test_split: EvaluationSplit
    control: bool


class HubOptions(VQAOptions, total=False):
    """And those of :class:`HubQuestions`."""

    unpacked: str


class CorpusOptions(LoaderOptions, total=False):
    """Arguments of :class:`StudyDataModule` that say nothing about rows."""

    max_text_tokens: int
    teacher: TeacherName
    teacher_source: str
    teacher_cache: str
    augmentation: Augmentation


class GeneratedOptions(SplitOptions, total=False):
    """Arguments of :class:`StudyDataModule` but the root and the teacher's kind."""

    max_text_tokens: int
    teacher_source: str
    teacher_cache: str
    augmentation: Augmentation


class StudyOptions(GeneratedOptions, total=False):
    """All arguments of :class:`StudyDataModule` but the root."""

    teacher: TeacherName
