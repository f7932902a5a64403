"""What the reader of a data set returns: the rows of a release, before any protocol is applied."""

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
    """One question about one image, as released.

    Attributes:
        question_id: ``<dataset>/<split>/<row in the released file>``, rows counted from 0.
        qid: The release's own id as text, empty if it has none.
        split: The released split.
        image_key: Identity of the image within the data set; equal keys mean the same image.
        image: Path of the image file relative to the root of the data set, with forward slashes.
        question: The question, white space collapsed, otherwise as released.
        answer: The answer as text, white space collapsed, otherwise as released.
        references: Normalised answers that count as correct; the first is the usual one.
        answer_type: The release's closed/open field, empty if it has none.
        question_type: The release's question type or category in lower case, or empty.
        variants: Other wordings of this question in the release (rephrase, frame).
        group: Images of one group (such as a patient) stay together when validation is held out;
            empty for an image without a group.
        source: Name of the data set of the row, set in mixtures only.
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
        """The id, under the name that questions and studies share."""
        return self.question_id

    @property
    def hold_out_group(self) -> str:
        """The group, or the image itself if it has none."""
        return self.group or self.image_key


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A question or study that is not used.

    Attributes:
        question_id: Its id.
        reason: Why; equal for all rows dropped for that reason, so that they can be counted.
        detail: The file, line or text of this row.
        by_choice: True if an option or a protocol leaves out a usable row; False if the row is
            unusable.
    """

    question_id: str
    reason: str
    detail: str = ""
    by_choice: bool = False


def unusable(
    question_id: str, question: str, references: Sequence[str], detail: str
) -> DroppedRow | None:
    """Return the dropped row of an empty question or answer, None for a usable row.

    Args:
        question_id: The id of the row.
        question: The question as released.
        references: Its normalised answers.
        detail: File and line of the row.
    """
    if not normalise(question):
        return DroppedRow(question_id, "empty question", detail)
    return None if any(references) else DroppedRow(question_id, "empty answer", detail)


@dataclass(frozen=True)
class Release(Generic[Row]):
    """All questions or studies that a reader found.

    Attributes:
        dataset: Name of the data set, the first part of all ids.
        layout: The published layout that was read.
        splits: Rows per released split in released order; a split that is not on disk is missing.
        absent: For each missing part (``test``, ``train images`` ...) a sentence that explains it.
        dropped: Rows of the release that could not be used.
        notes: Sentences that every audit and record repeats (label of a variant, a known leak ...).
    """

    dataset: str
    layout: str
    splits: Mapping[SplitName, tuple[Row, ...]]
    absent: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[DroppedRow, ...] = ()
    notes: tuple[str, ...] = ()
