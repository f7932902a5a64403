"""What a reader of studies returns: images with a report, before anything is left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amif_lightning.data.schema.questions import Release, SplitName


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One image of a study.

    Attributes:
        image_id: ``<dataset>/<path relative to the root>``; equal ids mean the same image.
        file: Where it lies.
        view: The projection as released (``frontal``, ``PA``, ``lateral`` ...), empty where unknown
            or where the word has no meaning.
    """

    image_id: str
    file: Path
    view: str = ""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study: its images and its text.

    Attributes:
        study_id: ``<dataset>/<the release's id>``, unique within the data set.
        split: The released split.
        images: Its images in released order, each once.
        text: The report or caption, white space collapsed, otherwise as released.
        finding: What studies with equal findings have in common, as text; empty where the data says
            nothing of findings.
        classes: Names of the classes it belongs to, among those of ``class_prompts``.
        group: What it must stay together with when validation is held out, such as its patient;
            empty where studies stand alone.
    """

    study_id: str
    split: SplitName
    images: tuple[StudyImage, ...]
    text: str
    finding: str = ""
    classes: tuple[str, ...] = ()
    group: str = ""

    @property
    def row_id(self) -> str:
        """The id, under the name that questions and studies share."""
        return self.study_id

    @property
    def hold_out_group(self) -> str:
        """The group, or the study itself where it stands alone."""
        return self.group or self.study_id


StudyRelease = Release[StudyRow]
