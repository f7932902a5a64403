"""IU X-Ray (Open-i): chest radiographs, mostly two views a study, with full reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from amif_lightning.arguments import check_choice
from amif_lightning.data.files import names, tables
from amif_lightning.data.loading.options import StudyOptions
from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow, SplitName
from amif_lightning.data.schema.studies import StudyImage, StudyRelease, StudyRow
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack
from data_modules.pretrain.mimic_sections import Section, chosen_sections, without_placeholders

DATASET = "IUXray"
HOME = "https://openi.nlm.nih.gov/faq"
REPORTS, ANNOTATION, VIEWS = "ecgen-radiology", "annotation.json", "indiana_projections.csv"
Layout = Literal["openi", "annotation"]
LayoutChoice = Literal["auto", "openi", "annotation"]
Placeholders = Literal["remove", "keep"]

BAD_REPORT = "its report is not XML, or has no id such as CXR1"
BAD_ENTRY = "its entry lacks an id such as CXR1_IM-0001, a report or images, or names another split"
BAD_IMAGE = "the name of an image of its report is not one of Open-i"
TWICE = "its study occurs twice"

_SPLITS: Mapping[str, SplitName] = {"train": "train", "val": "validation", "test": "test"}
# A report, an image (CXR1_1_IM-0001-3001) or a study of annotation.json (CXR2_IM-0652).
_ID = re.compile(r"(CXR([0-9]{1,6}))(?:_[A-Za-z0-9_.-]{1,99})?")
_SERIES = re.compile(r"IM-[0-9]+(?:-[0-9]+)*")
_REMOVED = re.compile("X{4,}")


class IUXray(StudyDataModule):
    """Chest radiographs of Indiana University with their reports, all images of a study.

    Studies with equal ``CXR`` number are one patient's and stay together. The XML reports have no
    released split, so validation is held out from all of them, and there is no test split. They
    name no views; those of ``indiana_projections.csv``, a table of a common copy, are used if it is
    in the root.

    Args:
        root: Folder with the reports ``ecgen-radiology/*.xml`` (or in ``NLMCXR_reports/``) and the
            images in ``NLMCXR_png/`` or ``images/``; or with ``annotation.json`` and ``images/``.
        layout: ``openi``: the XML reports; ``annotation``: ``annotation.json`` with its splits and
            one text a study; ``auto``: the reports if present, else ``annotation.json``.
        sections: Sections of the text, in this order; by default findings, then impression. Only
            the XML reports have them.
        placeholders: ``remove`` the ``XXXX`` that replace de-identified words, and blanks before
            punctuation; or ``keep`` both.
        missing_images: ``error``: files are not checked at the start, and a missing image stops
            the run; ``skip``: missing images are omitted and counted.
        **kwargs: Arguments of :class:`StudyDataModule`.
    """

    row_options = (*StudyDataModule.row_options, "placeholders", "missing_images")

    def __init__(
        self,
        root: str = "data/iu_xray",
        layout: LayoutChoice = "auto",
        sections: list[Section] | None = None,
        placeholders: Placeholders = "remove",
        missing_images: tables.MissingImages = "error",
        **kwargs: Unpack[StudyOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("layout", layout, LayoutChoice)
        check_choice("placeholders", placeholders, Placeholders)
        check_choice("missing_images", missing_images, tables.MissingImages)
        self.layout, self.sections_given = layout, sections is not None
        self.sections = chosen_sections(sections)
        self.placeholders, self.missing_images = placeholders, missing_images

    def selection(self) -> dict[str, str | int | float | bool]:
        """Add the sections of the text to the selection."""
        return super().selection() | {"sections": ", ".join(self.sections)}

    def read_release(self) -> StudyRelease:
        """Read the reports or ``annotation.json`` without opening images.

        Raises:
            UserError: If files are missing or damaged, or ``sections`` is given without sections.
        """
        tables.check_folder(DATASET, self.root, HOME)
        dropped: list[DroppedRow] = []
        notes: list[str] = []
        layout, source = self._source()
        folders = ("NLMCXR_png", "images") if layout == "openi" else ("images",)
        images = next((p for name in folders if (p := self.root / name).is_dir()), None)
        if images is None:
            raise UserError(
                f"{DATASET}: no folder {' or '.join(folders)} is in {self.root}, so unpack the "
                f"images there ({HOME})."
            )
        read = self._annotation if layout == "annotation" else self._reports
        listing = tables.Listing() if self.missing_images == "skip" else None
        splits: dict[SplitName, list[StudyRow]] = {split: [] for split in _SPLITS.values()}
        seen: set[str] = set()
        for study, split, text, shown in read(source, dropped, notes):
            if study in seen:
                dropped.append(DroppedRow(f"{DATASET}/{study}", TWICE))
                continue
            seen.add(study)
            found: dict[str, StudyImage] = {}
            for name, view in shown:
                inside = names.inside(name)
                if inside is None:
                    dropped.append(DroppedRow(f"{DATASET}/{study}", names.OUTSIDE, name))
                    continue
                file = images / inside
                image_id = f"{DATASET}/{file.relative_to(self.root).as_posix()}"
                if listing is not None and not listing.has(file):
                    dropped.append(DroppedRow(image_id, tables.NO_FILE))
                else:
                    found.setdefault(image_id, StudyImage(image_id, file, view))
            patient = study.partition("_")[0]
            row = StudyRow(f"{DATASET}/{study}", split, tuple(found.values()), text, group=patient)
            splits[split].append(row)
        kept = {split: tuple(rows) for split, rows in splits.items() if rows}
        why = "the XML reports" if layout == "openi" else source.name
        absent: dict[str, str] = {
            split: f"{why} name no {split} split" for split in splits if split not in kept
        }
        return StudyRelease(DATASET, layout, kept, absent, tuple(dropped), tuple(notes))

    def _source(self) -> tuple[Layout, Path]:
        """Return the layout to read, with the folder of reports or the file of annotations."""
        folders = (self.root / "NLMCXR_reports" / REPORTS, self.root / REPORTS)
        reports = next((folder for folder in folders if folder.is_dir()), None)
        annotation = self.root / ANNOTATION
        if self.layout != "annotation" and reports is not None:
            return "openi", reports
        if self.layout == "openi" or not annotation.is_file():
            wanted = {"openi": f"no {REPORTS}/", "annotation": f"no {ANNOTATION}"}
            what = wanted.get(self.layout, f"neither {REPORTS}/ nor {ANNOTATION}")
            raise UserError(
                f"{DATASET}: {what} is in {self.root}, so run `prepare data` with --download, or "
                f"put NLMCXR_reports.tgz and NLMCXR_png.tgz of {HOME} there and unpack them."
            )
        if self.sections_given:
            raise UserError(
                f"{DATASET}: data.init_args.sections is given, but {annotation} has one text a "
                "study: leave it out, or use the XML reports with layout openi."
            )
        return "annotation", annotation

    def _reports(
        self, folder: Path, dropped: list[DroppedRow], notes: list[str]
    ) -> Iterator[tuple[str, SplitName, str, list[tuple[str, str]]]]:
        """Yield id, split, text and images (name, view) of each XML report, in numerical order."""
        views = self._views(dropped)
        if not views:
            notes.append(f"no view is known, since the reports name none: put {VIEWS} in the root")
        files = sorted(folder.glob("*.xml"), key=lambda file: (len(file.name), file.name))
        if not files:
            raise tables.unexpected(DATASET, folder, "it holds no XML report", HOME)
        for file in files:
            try:
                report = ElementTree.parse(file).getroot()
            # An unknown encoding raises LookupError or ValueError.
            except (ElementTree.ParseError, OSError, LookupError, ValueError):
                report = ElementTree.Element("damaged")
            number = report.find("uId")
            study = "" if number is None else number.get("id", "")
            if not (match := _ID.fullmatch(study)) or match[1] != study:
                dropped.append(DroppedRow(f"{DATASET}/{file.name}", BAD_REPORT))
                continue
            shown = []
            for image in report.iter("parentImage"):
                name = image.get("id", "")
                if match := _ID.fullmatch(name):
                    series = _SERIES.search(name)
                    view = views.get((match[2], series[0]), "") if series else ""
                    shown.append((f"{name}.png", view))
                else:
                    dropped.append(DroppedRow(f"{DATASET}/{study}", BAD_IMAGE, name[:80]))
            yield study, "train", self._clean(self._texts(report)), shown

    def _texts(self, report: ElementTree.Element) -> Iterator[str]:
        for section in self.sections:
            for node in report.iter("AbstractText"):
                if node.get("Label", "").strip().lower() == section:
                    yield "".join(node.itertext())

    def _annotation(
        self, path: Path, dropped: list[DroppedRow], notes: list[str]
    ) -> Iterator[tuple[str, SplitName, str, list[tuple[str, str]]]]:
        """Yield the same of each entry of ``annotation.json``."""
        notes.append(f"{ANNOTATION} names no views")
        content = tables.read_json(DATASET, path, HOME)
        wrong = partial(tables.unexpected, DATASET, path, source=HOME)
        if not isinstance(content, dict) or not content.keys() <= _SPLITS.keys():
            raise wrong("its keys are not train, val and test")
        for word, entries in content.items():
            if not isinstance(entries, list):
                raise wrong(f"{word} is not a list")
            for number, entry in enumerate(entries):
                if not _is_entry(entry, word):
                    where = f"{DATASET}/{ANNOTATION}/{word}/{number}"
                    dropped.append(DroppedRow(where, BAD_ENTRY))
                    continue
                shown = [(name, "") for name in entry["image_path"]]
                yield entry["id"], _SPLITS[word], self._clean([entry["report"]]), shown

    def _views(self, dropped: list[DroppedRow]) -> dict[tuple[str, str], str]:
        """Return the view by number of the report and series of the image, if the table exists."""
        action = "fetch it again, or delete it to use no views"
        source = tables.TableFile(self.root / VIEWS, DATASET, action)
        if not source.path.is_file():
            return {}
        rows = tables.read_table(source, ("uid", "filename", "projection"), dropped)
        found = {}
        for line, row in rows:
            if series := _SERIES.search(row["filename"]):
                found[row["uid"].strip(), series[0]] = row["projection"].strip()
            else:
                dropped.append(source.malformed(line, "no image name of Open-i"))
        return found

    def _clean(self, texts: Iterable[str]) -> str:
        text = collapse(" ".join(texts))
        return without_placeholders(text, _REMOVED) if self.placeholders == "remove" else text


def _is_entry(entry: Any, split: str) -> bool:
    """Return whether an entry of ``annotation.json`` has the fields of a study of this split."""
    if not isinstance(entry, dict) or entry.get("split", split) != split:
        return False
    name, images = entry.get("id"), entry.get("image_path")
    return (
        isinstance(name, str)
        and _ID.fullmatch(name) is not None
        and names.is_text(entry.get("report"))
        and isinstance(images, list)
        and all(isinstance(image, str) for image in images)
    )
