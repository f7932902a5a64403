"""Seeded writers of small pre-training corpora in the real published layouts, with their traps.

All texts are written for the tests: nothing is taken from a corpus.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amif_lightning.data.loading.pretrain_module import StudyDataModule
from amif_lightning.data.schema.studies import StudyRow
from tests.fakes import write_image

#: Options of data modules that keep their tests small.
QUICK: dict[str, Any] = {"tokenizer": "words", "num_workers": 0, "image_size": 16}

CLASSES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
_OTHER_LABELS = ("Enlarged Cardiomediastinum", "Fracture", "Lung Lesion", "Lung Opacity")
_LABELS = (*CLASSES, *_OTHER_LABELS, "No Finding", "Pleural Other", "Pneumonia", "Pneumothorax")


def rows_of(data: StudyDataModule) -> dict[str, StudyRow]:
    """The released studies by id, without the name of the data set."""
    rows = (row for split in data.release.splits.values() for row in split)
    return {row.study_id.partition("/")[2]: row for row in rows}


def reasons(data: StudyDataModule) -> Counter[str]:
    """How many studies are dropped for which reason."""
    return Counter(row.reason for row in data.splits.dropped)


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, packed: bool = False
) -> Path:
    """Write a table, or ``<path>.gz`` if ``packed``."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(header)
    writer.writerows(rows)
    path = path.with_name(f"{path.name}.gz") if packed else path
    path.parent.mkdir(parents=True, exist_ok=True)
    text = stream.getvalue().encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


# Study number, patient, split, views, findings and impression.
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old with cough.  // Is it pneumonia?

 COMPARISON:  ___.

 FINDINGS:

 {findings}

 IMPRESSION:

 {impression}
"""

STUDIES: tuple[tuple[int, int, str, tuple[str, ...], str, str], ...] = (
    (
        50000001,
        10000032,
        "train",
        ("PA", "LATERAL"),
        "Lungs are\n clear.",
        "Normal study number 1.",
    ),
    (50000002, 10000032, "train", ("AP",), "Small  effusion.", "Effusion number 2."),
    (50000003, 10000764, "train", ("AP", "", "LL"), "Since ___, larger.", "Number 3 of ___."),
    (50000004, 11000011, "train", ("PA", "LATERAL"), "Heart is big.", "Cardiomegaly number 4."),
    (50000005, 11000011, "train", ("AP AXIAL",), "Pacemaker.", "Device number 5."),
    (50000006, 12000001, "validate", ("PA", "LATERAL"), "Clear lungs.", "Normal number 6."),
    (50000007, 12000001, "validate", ("AP",), "Hazy bases.", "Atelectasis number 7."),
    (50000008, 13000001, "test", ("PA", "LATERAL"), "Basal band.", "Atelectasis number 8."),
    (50000009, 13000002, "test", ("AP", "PA"), "Broad heart.", "Cardiomegaly number 9."),
    (50000010, 13000003, "test", ("LATERAL",), "Fluid.", "Effusion number 10."),
)
# Positive classes by study; 5 has two, 3 also has an uncertain one.
POSITIVE: Mapping[int, tuple[str, ...]] = {
    50000002: ("Pleural Effusion",),
    50000003: ("Edema",),
    50000004: ("Cardiomegaly",),
    50000005: ("Cardiomegaly", "Edema"),
    50000007: ("Atelectasis",),
    50000008: ("Atelectasis",),
    50000009: ("Cardiomegaly",),
    50000010: ("Pleural Effusion",),
}


def dicom(study: int, place: int) -> str:
    """The id of a study's image."""
    return f"{study:08x}-1a2b3c4d-{place:08x}-0f0f0f0f-{study + place:08x}"


def image_path(study: int, patient: int, place: int) -> str:
    """Path of an image in MIMIC-CXR-JPG."""
    return f"files/p{str(patient)[:2]}/p{patient}/s{study}/{dicom(study, place)}.jpg"


def report_path(study: int, patient: int) -> str:
    """Path of a report in MIMIC-CXR."""
    return f"files/p{str(patient)[:2]}/p{patient}/s{study}.txt"


def write_mimic_cxr(root: Path, *, packed: bool = True, reports: bool = True) -> None:
    """Write MIMIC-CXR-JPG with labels and, in ``mimic-cxr-reports``, the reports.

    Traps: empty and rare view words, studies of one and three images, two studies of a patient,
    underscores, line breaks in sentences, a frontal-free study, numbers as ``1.0``.
    """
    metadata, split, labels = [], [], []
    for number, patient, name, views, findings, impression in STUDIES:
        for place, view in enumerate(views):
            write_image(root / image_path(number, patient, place), number + place)
            row = [dicom(number, place), patient, number, "CHEST (PA AND LAT)", view, 3056, 2544]
            metadata.append([*row, 21800506, 213014.531])
            split.append([dicom(number, place), number, patient, name])
        positive = POSITIVE.get(number, ())
        cells = ["1.0" if label in positive else "" for label in _LABELS]
        if number == 50000003:
            cells[_LABELS.index("Consolidation")] = "-1.0"
        labels.append([patient, number, *cells])
        if reports:
            path = root / "mimic-cxr-reports" / report_path(number, patient)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(REPORT.format(findings=findings, impression=impression))
    header = ["dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription"]
    header += ["ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime"]
    write_csv(root / "mimic-cxr-2.0.0-metadata.csv", header, metadata, packed=packed)
    header = ["dicom_id", "study_id", "subject_id", "split"]
    write_csv(root / "mimic-cxr-2.0.0-split.csv", header, split, packed=packed)
    header = ["subject_id", "study_id", *_LABELS]
    write_csv(root / "mimic-cxr-2.0.0-chexpert.csv", header, labels, packed=packed)


#: Fake ROCO v1: split, subset, id, caption, whether the image exists.
ROCO_V1: tuple[tuple[str, str, str, str, bool], ...] = (
    ("train", "radiology", "ROCO_00002", " CT of the abdomen with a large cyst.", True),
    (
        "train",
        "radiology",
        "ROCO_00003",
        "  Radiograph\u2028of the chest, caf\u00e9-au-lait.",
        True,
    ),
    ("train", "radiology", "ROCO_00004", " MRI with a missing image.", False),
    ("train", "radiology", "ROCO_00007", " Axial \t view of the knee.", True),
    ("train", "non-radiology", "ROCO_00010", " A drawing of a stent.", True),
    ("validation", "radiology", "ROCO_00020", " Ultrasound of the liver.", True),
    ("validation", "radiology", "ROCO_00021", " Angiogram of the leg.", True),
    ("validation", "non-radiology", "ROCO_00022", " A flow chart.", True),
    ("test", "radiology", "ROCO_00001", " Coronal MRI.", True),
    ("test", "non-radiology", "ROCO_00031", " A photograph.", False),
)


def write_roco_v1(root: Path) -> None:
    """Write ROCO v1 in the layout of its repository after the images are downloaded.

    Traps: missing images, outer blanks, a tab and a line separator within captions.
    """
    for split in ("train", "validation", "test"):
        for subset in ("radiology", "non-radiology"):
            folder = root / "data" / split / subset
            (folder / "images").mkdir(parents=True)
            rows = [row for row in ROCO_V1 if row[:2] == (split, subset)]
            lines = "".join(f"{name}\t{caption}\n" for _, _, name, caption, _ in rows)
            (folder / "captions.txt").write_text(lines, encoding="utf-8", newline="")
            for number, (_, _, name, _, there) in enumerate(rows):
                if there:
                    write_image(folder / "images" / f"{name}.jpg", number + len(split))


def write_roco_v2(root: Path) -> None:
    """Write ROCOv2: three tables and image folders, captions with commas and quotes."""
    for split, count in (("train", 4), ("valid", 2), ("test", 2)):
        rows = []
        for number in range(1, count + 1):
            name = f"ROCOv2_2023_{split}_{number:06d}"
            rows.append([name, f'CT, "axial", of {split} case {number}.\nArrow: cyst.'])
            if (split, number) != ("train", 4):  # one image is missing
                write_image(root / split / f"{name}.jpg", number)
        write_csv(root / f"{split}_captions.csv", ["ID", "Caption"], rows)


def medicat_figure(number: int, paper: int, **changes: Any) -> dict[str, Any]:
    """One line of MedICaT's file."""
    return {
        "pdf_hash": f"{paper:040x}",
        "fig_key": f"Figure{number}",
        "fig_uri": f"{number}-Figure{number}-1.png",
        "s2_caption": f"Fig. {number}. CT  of case {number}.",
        "s2orc_caption": f"Figure {number}. Another wording.",
        "s2orc_references": [f"A cyst was seen (Fig. {number}) .", "It shrank."],
        "radiology": True,
        "scope": False,
        "predicted_type": "Medical images",
        "oa_info": {"doi": "10.1000/1", "oa": {"is_oa": True, "license": None}},
    } | changes


#: Papers of one and of several figures; null captions and references; figures of other kinds.
MEDICAT: tuple[dict[str, Any], ...] = (
    medicat_figure(1, 1),
    medicat_figure(2, 1, s2_caption=None),
    medicat_figure(3, 2, s2orc_caption=None, s2orc_references=None),
    medicat_figure(4, 2, radiology=False, scope=True),
    medicat_figure(5, 3, s2_caption="  ", s2orc_caption=""),
    medicat_figure(6, 4),
    medicat_figure(7, 5),
    medicat_figure(8, 6),
)
MEDICAT_FILE = "s2_full_figures_oa_nonroco_combined_medical_top4_public.jsonl"


def write_medicat(root: Path, lines: Iterable[str] | None = None) -> None:
    """Write MedICaT's release; the image of figure 8 is missing."""
    folder = root / "release"
    folder.mkdir(parents=True, exist_ok=True)
    text = [json.dumps(figure) for figure in MEDICAT] if lines is None else lines
    (folder / MEDICAT_FILE).write_text("\n".join(text), encoding="utf-8")
    for number, figure in enumerate(MEDICAT[:-1]):
        write_image(folder / "figures" / f"{figure['pdf_hash']}_{figure['fig_uri']}", number)


def write_image_text(root: Path) -> None:
    """Write a user's table: two views in one study, three splits."""
    rows = [
        ["a/1.png", "PA", "s1", "train", "p1", "Clear lungs, one."],
        ["a/2.png", "lateral", "s1", "train", "p1", ""],
        *(
            [f"a/{number}.png", "AP", f"s{number}", split, f"p{number}", f"Text {number}."]
            for number, split in enumerate(("train", "train", "train", "val", "val", "test"), 3)
        ),
    ]
    for number, row in enumerate(rows):
        write_image(root / row[0], number)
    header = ["image", "view", "study", "split", "patient", "report"]
    write_csv(root / "table.csv", header, rows)


def write_chexpert(root: Path, per_class: int = 3, small: bool = True) -> int:
    """Write CheXpert's ``train.csv`` with images; return the number of eligible ones.

    Traps: lateral images, two positives, an uncertain and a positive label, no positive.
    """
    top = "CheXpert-v1.0-small" if small else "CheXpert-v1.0"
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", *_LABELS[:-4]]
    rows: list[list[object]] = []

    def add(name: str, labels: Mapping[str, str], frontal: bool = True) -> None:
        patient = len(rows) + 1
        view = "view1_frontal" if frontal else "view2_lateral"
        path = f"{top}/train/patient{patient:05d}/study1/{view}.jpg"
        side, beam = ("Frontal", "AP") if frontal else ("Lateral", "")
        cells = [labels.get(label, "") for label in _LABELS[:-4]]
        rows.append([path, "Female", 60 + patient, side, beam, "", *cells])
        write_image(root / path, patient)

    for name in CLASSES:
        for _ in range(per_class):
            add(name, {name: "1.0", "Lung Opacity": "1.0"})
        add(name, {name: "1.0"}, frontal=False)
    add("two", {"Edema": "1.0", "Consolidation": "1.0"})
    add("uncertain", {"Edema": "1.0", "Atelectasis": "-1.0"})
    add("none", {"Edema": "0.0"})
    write_csv(root / "train.csv", header, rows)
    return 5 * per_class + 1


IU_REPORT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
  <uId id="{study}"/>
  <MedlineCitation><Article><Abstract>
    <AbstractText Label="COMPARISON">None.</AbstractText>
    <AbstractText Label="INDICATION">Cough for XXXX days.</AbstractText>
    <AbstractText Label="FINDINGS">{findings}</AbstractText>
    <AbstractText Label="IMPRESSION">{impression}</AbstractText>
  </Abstract></Article></MedlineCitation>
  <MeSH><major>normal</major></MeSH>
  {images}
</eCitation>
"""
#: Number of the report, images (name, view) and sections of findings and impression.
IU_STUDIES: tuple[tuple[int, tuple[tuple[str, str], ...], str, str], ...] = (
    (1, (("1_IM-0001-3001", "Lateral"), ("1_IM-0001-4001", "Frontal")), "Heart is normal.", "One."),
    (2, (("IM-0652-1001", "Frontal"), ("IM-0652-2001", "Lateral")), "No XXXX of fluid.", "Two ."),
    (3, (("IM-1384-1001", "Frontal"),), "Lungs  are\n clear &amp; wide.", ""),
    (
        4,
        (
            ("IM-2050-1001", "Frontal"),
            ("IM-2050-2001", "Lateral"),
            ("IM-2050-0001-0001", "Frontal"),
        ),
        "",
        "Four, XXXX.",
    ),
    (5, (("IM-2117-1003002", "Frontal"), ("IM-2117-1004003", "")), "Five.", "Band at base."),
    (6, (("IM-2192-1001", "Frontal"),), "", ""),
    (7, (("IM-2263-1001", "Frontal"),), "XXXX.", "XXXX"),
    (8, (), "No image eight.", "Eight."),
    (10, (("IM-0002-1001", "Frontal"), ("IM-0002-2001", "Lateral")), "Ten.", "Scar."),
)


def write_iu_xray(root: Path, *, views: bool = True) -> None:
    """Write the XML reports and images of Open-i as unpacked, and the table of views of copies.

    Traps: one view, two frontals, an unknown view, no image, an empty or removed section or both,
    ``XXXX`` within sentences, white space, an entity, lateral before frontal, report 10 after 8.
    """
    folder = root / "NLMCXR_reports" / "ecgen-radiology"
    folder.mkdir(parents=True)
    table = []
    for number, images, findings, impression in IU_STUDIES:
        study = f"CXR{number}"
        names = [f"{study}_{name}" for name, _ in images]
        shown = "".join(
            f'<parentImage id="{name}"><figureId>F1</figureId><caption>PA and Lateral</caption>'
            f"<panel type='single'><url>/hadoop/{name}.jpg</url></panel></parentImage>"
            for name in names
        )
        text = IU_REPORT.format(study=study, findings=findings, impression=impression, images=shown)
        (folder / f"{number}.xml").write_text(text, encoding="utf-8")
        for place, name in enumerate(names):
            write_image(root / "NLMCXR_png" / f"{name}.png", 10 * number + place)
        series = ((f"{number}_IM{name.partition('IM')[2]}", view) for name, view in images)
        table += [[number, f"{name}.dcm.png", view] for name, view in series if view]
    if views:
        write_csv(root / "indiana_projections.csv", ["uid", "filename", "projection"], table)


def iu_entry(name: str, split: str, count: int = 2, **changes: Any) -> dict[str, Any]:
    """One entry of the file of annotations."""
    return {
        "id": name,
        "report": f"The heart of XXXX {name.partition('_')[0]} is normal .",
        "image_path": [f"{name}/{place}.png" for place in range(count)],
        "split": split,
    } | changes


#: A single image, three images, an id with a view, a patient in two splits, a removed report.
IU_ENTRIES: tuple[dict[str, Any], ...] = (
    iu_entry("CXR2384_IM-0942", "train"),
    iu_entry("CXR2926_IM-1328", "train", 1),
    iu_entry("CXR1451_IM-0291", "train", 3),
    iu_entry("CXR77_IM-2326", "train", report="XXXX XXXX."),
    iu_entry("CXR5_IM-2117", "train"),
    iu_entry("CXR2056_IM-0694-1001", "val"),
    iu_entry("CXR5_IM-2117-2001", "test"),
    iu_entry("CXR9_IM-2407", "test", 1),
)


def write_iu_annotation(root: Path, entries: Sequence[Any] = IU_ENTRIES) -> None:
    """Write ``annotation.json`` and its images; entries that are no objects go to train."""
    content: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    for number, entry in enumerate(entries):
        content[entry["split"] if isinstance(entry, dict) else "train"].append(entry)
        for place, name in enumerate(entry["image_path"] if entry in IU_ENTRIES else ()):
            write_image(root / "images" / name, 10 * number + place)
    root.mkdir(parents=True, exist_ok=True)
    (root / "annotation.json").write_text(json.dumps(content), encoding="utf-8")
