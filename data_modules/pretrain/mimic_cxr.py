"""MIMIC-CXR-JPG: chest radiographs with the sections of their reports."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.tables import NO_FILE, Listing, MissingImages, check_folder, either
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.signatures import Unpack
from data_modules.pretrain import mimic_sections
from data_modules.pretrain.mimic_sections import Section, chosen_sections, without_placeholders
from data_modules.pretrain.mimic_tables import ACCESS, NO_SPLIT, read_metadata, read_split

DATASET = "MIMICCXR"
Underscores = Literal["remove", "keep"]

NO_REPORT = "the table of sections has no row of its report"
NO_SECTION = "its report has none of the requested sections"

_BLANKS = re.compile(r"_{2,}")


class MIMICCXR(StudyDataModule):
    """Studies of MIMIC-CXR-JPG: all images of a study, findings and impression of its report.

    The official split is used, and patients stay together. Texts come from
    ``mimic_cxr_sectioned.csv`` in the root, else in ``data/``, where it is built once from the
    reports (rules: data_modules/pretrain/mimic_sections.py).

    Args:
        root: Folder of MIMIC-CXR-JPG, with ``files/`` and the tables (``.csv.gz`` or ``.csv``).
        reports: Folder of the reports; empty: ``mimic-cxr-reports`` in the root, else the root.
        sections: Sections of the text, in this order; by default findings, then impression.
        last_paragraph: Use the last paragraph of reports without findings and impression; else drop
            their studies.
        underscores: ``remove`` the runs of underscores that replace de-identified words, and blanks
            before punctuation; or ``keep`` both.
        missing_images: ``error``: files are not checked at the start, and a missing image stops
            the run; ``skip``: missing images are omitted and counted.
        **kwargs: Arguments of :class:`StudyDataModule`.
    """

    row_options = (*StudyDataModule.row_options, "last_paragraph", "missing_images")

    def __init__(
        self,
        root: str = "data/mimic_cxr_jpg",
        reports: str = "",
        sections: list[Section] | None = None,
        last_paragraph: bool = True,
        underscores: Underscores = "remove",
        missing_images: MissingImages = "error",
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("underscores", underscores, Underscores)
        check_choice("missing_images", missing_images, MissingImages)
        self.reports, self.sections = reports, chosen_sections(sections)
        self.last_paragraph, self.underscores = last_paragraph, underscores
        self.missing_images = missing_images

    def prepare_data(self) -> None:
        """Build the table of sections if it is missing, and prepare the teacher."""
        self._sectioned()
        super().prepare_data()

    def selection(self) -> dict[str, str | int | float | bool]:
        """Add the sections of the text to the selection."""
        return super().selection() | {"sections": ", ".join(self.sections)}

    def read_release(self) -> StudyRelease:
        """Read the tables of the release without opening images.

        Raises:
            UserError: If a file is missing or damaged; the message links to its application page.
        """
        check_folder(DATASET, self.root, ACCESS)
        dropped: list[DroppedRow] = []
        split_of = read_split(DATASET, self.root, dropped)
        images: dict[str, list[StudyImage]] = {}
        patients: dict[str, str] = {}
        listing = Listing() if self.missing_images == "skip" else None
        for entry in read_metadata(DATASET, self.root, dropped):
            # A study without any image on disk stays: the base drops and counts it.
            shown = images.setdefault(entry.study, [])
            patients[entry.study] = f"p{entry.subject}"
            image = StudyImage(f"{DATASET}/{entry.path}", self.root / entry.path, entry.view)
            if listing is not None and not listing.has(image.file):
                dropped.append(DroppedRow(image.image_id, NO_FILE))
            else:
                shown.append(image)
        texts, notes = self._texts(images, dropped)
        rows: dict[SplitName, list[StudyRow]] = {name: [] for name in get_args(SplitName)}
        for study, found in images.items():
            study_id = f"{DATASET}/s{study}"
            split, text = split_of.get(study), texts.get(study)
            if split is None:
                dropped.append(DroppedRow(study_id, NO_SPLIT))
            elif not text:
                dropped.append(DroppedRow(study_id, NO_REPORT if text is None else NO_SECTION))
            else:
                group = patients[study]
                rows[split].append(StudyRow(study_id, split, tuple(found), text, group=group))
        splits = {name: tuple(group) for name, group in rows.items() if group}
        return StudyRelease(DATASET, "mimic-cxr-jpg", splits, {}, tuple(dropped), tuple(notes))

    def _sectioned(self) -> Path:
        """Return the table of sections; build it if it is missing."""
        check_folder(DATASET, self.root, ACCESS)
        released, made = either(self.root, mimic_sections.NAME), Path("data") / mimic_sections.NAME
        if released.is_file():
            return released
        if not made.is_file():
            folder = mimic_sections.report_folder(self.root, self.reports)
            if folder is None:
                raise mimic_sections.no_reports(DATASET, self.root, self.reports)
            mimic_sections.build_sectioned(DATASET, folder, made)
        return made

    def _texts(
        self, wanted: Mapping[str, object], dropped: list[DroppedRow]
    ) -> tuple[dict[str, str], list[str]]:
        """Return notes and the text of each study, empty without any requested section."""
        path = self._sectioned()
        columns = [*get_args(Section), *(["last_paragraph"] if self.last_paragraph else [])]
        texts: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for study, row in mimic_sections.read_sectioned(DATASET, path, columns, dropped):
            if study not in wanted:
                continue
            if study in texts:
                counts["again"] += 1
                continue
            cells = {name: self._clean(row[name]) for name in columns}
            texts[study] = " ".join(filter(None, (cells[name] for name in self.sections)))
            if self.last_paragraph and not any(cells[name] for name in get_args(Section)):
                texts[study] = cells["last_paragraph"]
                counts["last"] += bool(texts[study])
        notes = [f"texts from {path}"]
        if counts["last"]:
            notes.append(
                f"{counts['last']} texts are the last paragraph of a report without findings and "
                "impression"
            )
        if counts["again"]:
            notes.append(f"{counts['again']} rows of {path} repeat a study and are not read")
        return texts, notes

    def _clean(self, text: str) -> str:
        if self.underscores == "remove":
            return without_placeholders(text, _BLANKS)
        return collapse(text)
