"""What a reader of studies returns: images with a report, before any study is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amif_lightning.data.schema.questions import Release, SplitName


@dataclass(frozen=True, slots=True)
class StudyImage:
    """One image of a study.

    Attributes:
        image_id: ``<dataset>/<path relative to the root>``; equal ids mean the same image.
        file: Path of the image file.
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
        images: Its images in released order, each once.
        text: The report or caption, white space collapsed, otherwise as released.
        finding: Equal for studies that are relevant to each other; empty if findings are unknown.
        classes: Names of the classes it belongs to, among those of ``class_prompts``.
        group: Studies of one group (such as a patient) stay together when validation is held out;
            empty for a study without a group.
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
        """The group, or the study itself if it has none."""
        return self.group or self.study_id


StudyRelease = Release[StudyRow]
