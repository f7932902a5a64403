"""Rows of a release as its reader returns them, before a protocol is applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from amif_lightning.data.preprocessing.normalization import normalise

Row = TypeVar("Row")
AnswerType = Literal["closed", "open", ""]
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class VQAExample:
    """One question about one image, as released except for collapsed white space.

    Attributes:
        question_id: ``<dataset>/<split>/<row in the released file>``, rows counted from 0.
        qid: The release's own id as text, or empty.
        split: The released split.
        image_key: Identity of the image within the data set; equal keys mean the same image.
        image: Path of the image file relative to the root of the data set, with forward slashes.
        references: Normalised answers that count as correct; the first is the usual one.
        answer_type: The release's closed/open field, or empty.
        question_type: The release's question type or category in lower case, or empty.
        variants: Other wordings of this question in the release (rephrase, frame).
        group: Images of one group (such as a patient) stay together in a hold-out; may be empty.
        source: Name of the row's data set, set in mixtures only.
    """

    question_id: str
    qid: str
    split: SplitName
    image_key: str
    image: str
    question: str
    answer: str
    references: tuple[str, ...]
    answer_type: AnswerType = ""
    question_type: str = ""
    variants: tuple[str, ...] = ()
    group: str = ""
    source: str = ""

    @property
    def row_id(self) -> str:
        """Return the id, under the name common to questions and studies."""
        return self.question_id

    @property
    def hold_out_group(self) -> str:
        """Return the group, or the image key without a group."""
        return self.group or self.image_key


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A question or study that is not used.

    Attributes:
        reason: Equal for all rows dropped for this reason, so that they can be counted.
        detail: File, line or text of this row.
        by_choice: Whether the row is usable, but an option or the protocol excludes it.
    """

    question_id: str
    reason: str
    detail: str = ""
    by_choice: bool = False

    @classmethod
    def if_unusable(
        cls, question_id: str, question: str, references: Sequence[str], detail: str
    ) -> DroppedRow | None:
        """Return the row if the question or all normalised references are empty, else None."""
        if not normalise(question):
            return cls(question_id, "empty question", detail)
        return None if any(references) else cls(question_id, "empty answer", detail)


@dataclass(frozen=True)
class Release(Generic[Row]):
    """All questions or studies that a reader found.

    Attributes:
        dataset: Name of the data set, the first part of all ids.
        layout: The published layout that was read.
        splits: Rows in released order by released split, without splits that are not on disk.
        absent: An explanation for each missing part (``test``, ``train images`` ...).
        dropped: Rows that are unusable or excluded by an option.
        notes: Sentences for every audit and record (label of a variant, a known leak ...).
    """

    dataset: str
    layout: str
    splits: Mapping[SplitName, tuple[Row, ...]]
    absent: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[DroppedRow, ...] = ()
    notes: tuple[str, ...] = ()
