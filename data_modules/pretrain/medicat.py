"""MedICaT: figures of medical papers with captions and the sentences that mention them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amif_lightning.data.files.tables import NO_FILE, Listing, TableFile, is_text, read_json_lines
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

DATASET = "MedICaT"
FILE = "s2_full_figures_oa_nonroco_combined_medical_top4_public.jsonl"
HOME = "https://github.com/allenai/medicat"

BAD_FIELD = "a field of the figure is missing or of the wrong kind"
NOT_RADIOLOGY = "not a radiology figure"
TWICE = "the figure is listed twice"

_HASH = re.compile(r"[A-Za-z0-9]+")
_URI = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class MedICaT(StudyDataModule):
    """Figures with captions, one image a study.

    The release has one split, training; validation is held out, and the figures of one paper stay
    together. The folder of figures is listed once, and figures that are not there are dropped and
    counted.

    Args:
        root: Folder that holds ``release/``, or that folder itself.
        radiology_only: Keep figures that the release marks ``radiology``; else all of them.
        inline_references: Append the sentences of the paper that mention the figure to its caption
            (``s2orc_references``).
        **kwargs: Arguments of :class:`StudyDataModule`.

    Raises:
        UserError: If an option of the base is out of range.
    """

    def __init__(
        self,
        root: str = "data/medicat",
        radiology_only: bool = True,
        inline_references: bool = False,
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        self.radiology_only, self.inline_references = radiology_only, inline_references

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with what decides which figures have a text."""
        return super().selection() | {
            "radiology_only": self.radiology_only,
            "inline_references": self.inline_references,
        }

    def read_release(self) -> StudyRelease:
        """Read all figures line by line; no image is opened.

        Raises:
            UserError: If the file or the folder of figures is missing or damaged.
        """
        folder = self.root if (self.root / FILE).is_file() else self.root / "release"
        source = TableFile(
            folder / FILE, DATASET, f"ask for the release through {HOME} and unpack it"
        )
        if not (folder / "figures").is_dir() and source.path.is_file():
            raise UserError(
                f"{DATASET}: the folder {folder / 'figures'} does not exist, so unpack the figures "
                f"of the release there ({HOME})."
            )
        listing, seen = Listing(), set[str]()
        rows: list[StudyRow] = []
        dropped: list[DroppedRow] = []
        for number, figure in read_json_lines(source, dropped):
            name = _name(figure)
            if not name or not self._readable(figure):
                where = f"{DATASET}/{FILE}/{number}"
                dropped.append(DroppedRow(where, BAD_FIELD, f"line {number}"))
                continue
            file = folder / "figures" / name
            reason = self._unwanted(figure, file, seen, listing)
            seen.add(name)
            if reason:
                dropped.append(DroppedRow(f"{DATASET}/{name}", reason, f"line {number}"))
                continue
            image = StudyImage(f"{DATASET}/{file.relative_to(self.root).as_posix()}", file)
            text = self._text(figure)
            paper = figure["pdf_hash"]
            rows.append(StudyRow(f"{DATASET}/{name}", "train", (image,), text, group=paper))
        return StudyRelease(
            dataset=DATASET,
            layout="release",
            splits={"train": tuple(rows)},
            absent={"test": "MedICaT has no test split"},
            dropped=tuple(dropped),
        )

    def _readable(self, figure: Mapping[str, Any]) -> bool:
        """Whether all that is used has its released kind; null stands for none."""
        captions = [figure.get(key) for key in ("s2_caption", "s2orc_caption")]
        references = figure.get("s2orc_references")
        sentences = [] if references is None else references
        return (
            isinstance(figure.get("radiology"), bool)
            and all(caption is None or is_text(caption) for caption in captions)
            and isinstance(sentences, list)
            and all(is_text(sentence) for sentence in sentences)
        )

    def _unwanted(
        self, figure: Mapping[str, Any], file: Path, seen: set[str], listing: Listing
    ) -> str:
        if file.name in seen:
            return TWICE
        if self.radiology_only and not figure["radiology"]:
            return NOT_RADIOLOGY
        return "" if listing.has(file) else NO_FILE

    def _text(self, figure: Mapping[str, Any]) -> str:
        """The caption and, where asked for, the sentences that mention it.

        A figure without a caption has none from its references either: those speak of more than it.
        """
        captions = (collapse(figure.get(key) or "") for key in ("s2_caption", "s2orc_caption"))
        caption = next(filter(None, captions), "")
        if not caption or not self.inline_references:
            return caption
        return collapse(" ".join([caption, *(figure.get("s2orc_references") or [])]))


def _name(figure: Mapping[str, Any]) -> str:
    """The figure's file name, empty where its parts are no plain names."""
    paper, uri = figure.get("pdf_hash"), figure.get("fig_uri")
    if not isinstance(paper, str) or not isinstance(uri, str):
        return ""
    return f"{paper}_{uri}" if _HASH.fullmatch(paper) and _URI.fullmatch(uri) else ""
