"""MedICaT: figures of medical papers with captions and the sentences that mention them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from amif_lightning.data.files.names import is_text
from amif_lightning.data.files.tables import NO_FILE, Listing, TableFile, read_json_lines
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
    """Figures with captions, one image per study.

    Validation is held out from the only released split, training, by paper. Figures that are not on
    disk are dropped and counted.

    Args:
        root: Folder that contains ``release/``, or that folder itself.
        radiology_only: Keep only figures that the release marks ``radiology``.
        inline_references: Append the sentences of the paper that mention the figure
            (``s2orc_references``) to its caption.
        **kwargs: Arguments of :class:`StudyDataModule`.
    """

    row_options = (*StudyDataModule.row_options, "radiology_only", "inline_references")

    def __init__(
        self,
        root: str = "data/medicat",
        radiology_only: bool = True,
        inline_references: bool = False,
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        self.radiology_only, self.inline_references = radiology_only, inline_references

    def read_release(self) -> StudyRelease:
        """Read all figures line by line without opening images.

        Raises:
            UserError: If the file or the folder of figures is missing or damaged.
        """
        folder = self.root if (self.root / FILE).is_file() else self.root / "release"
        figures = folder / "figures"
        action = f"ask for the release through {HOME} and unpack it"
        source = TableFile(folder / FILE, DATASET, action)
        if not figures.is_dir() and source.path.is_file():
            raise UserError(
                f"{DATASET}: the folder {figures} does not exist, so unpack the figures of the "
                f"release there ({HOME})."
            )
        listing, seen = Listing(), set[str]()
        rows: list[StudyRow] = []
        dropped: list[DroppedRow] = []
        for number, figure in read_json_lines(source, dropped):
            detail = f"line {number}"
            name = _name(figure)
            text = self._text(figure)
            if not name or text is None:
                dropped.append(DroppedRow(f"{DATASET}/{FILE}/{number}", BAD_FIELD, detail))
                continue
            reason = ""
            if name in seen:
                reason = TWICE
            elif self.radiology_only and not figure["radiology"]:
                reason = NOT_RADIOLOGY
            elif not listing.has(figures / name):
                reason = NO_FILE
            seen.add(name)
            if reason:
                dropped.append(DroppedRow(f"{DATASET}/{name}", reason, detail))
                continue
            path = (figures / name).relative_to(self.root).as_posix()
            image = StudyImage(f"{DATASET}/{path}", figures / name)
            paper = figure["pdf_hash"]
            rows.append(StudyRow(f"{DATASET}/{name}", "train", (image,), text, group=paper))
        absent = {"test": "MedICaT has no test split"}
        return StudyRelease(DATASET, "release", {"train": tuple(rows)}, absent, tuple(dropped))

    def _text(self, figure: Mapping[str, Any]) -> str | None:
        """Return the caption with optional references; None for a damaged figure.

        References alone are not used as text, since they describe more than the figure.
        """
        captions = [figure.get(key) or "" for key in ("s2_caption", "s2orc_caption")]
        references = figure.get("s2orc_references") or []
        if not isinstance(figure.get("radiology"), bool) or not isinstance(references, list):
            return None
        if not all(is_text(text) for text in (*captions, *references)):
            return None
        caption = next(filter(None, map(collapse, captions)), "")
        if not caption or not self.inline_references:
            return caption
        return collapse(" ".join([caption, *references]))


def _name(figure: Mapping[str, Any]) -> str:
    """Return the figure's file name, empty if it could leave the folder."""
    paper, uri = figure.get("pdf_hash"), figure.get("fig_uri")
    if not isinstance(paper, str) or not isinstance(uri, str):
        return ""
    return f"{paper}_{uri}" if _HASH.fullmatch(paper) and _URI.fullmatch(uri) else ""
