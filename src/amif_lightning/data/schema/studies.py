"""Studies (images with a report) as a reader returns them, before any study is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amif_lightning.data.schema.questions import Release, SplitName


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One image of a study.

    Attributes:
        image_id: ``<dataset>/<path relative to the root>``; equal ids mean the same image.
        view: The projection as released (``frontal``, ``PA``, ``lateral`` ...), empty if unknown.
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
        images: Distinct images in released order.
        text: The report or caption, as released except for collapsed white space.
        finding: Equal for studies that are relevant to each other; empty if findings are unknown.
        classes: Names of the study's classes, among those of ``class_prompts``.
        group: Studies of one group (such as a patient) stay together in a hold-out; may be empty.
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
        """Return the id, under the name common to questions and studies."""
        return self.study_id

    @property
    def hold_out_group(self) -> str:
        """Return the group, or the study's id without a group."""
        return self.group or self.study_id


StudyRelease = Release[StudyRow]
