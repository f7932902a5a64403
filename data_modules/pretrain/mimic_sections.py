"""Sections of radiology reports in the format of MIMIC-CXR, and the table that stores them."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from tqdm import tqdm

from amif_lightning.data.files.atomic import locked
from amif_lightning.data.files.tables import TableFile, read_table
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.errors import UserError
from data_modules.pretrain.mimic_tables import REPORTS_ACCESS

Section = Literal["findings", "impression"]
Kind = Literal["findings", "impression", "comparison", "other"]

_HEADINGS: dict[Kind, str] = {
    "findings": "FINDINGS|FINDING|REPORT|CHEST FINDINGS|FINDINGS AND IMPRESSION|"
    "FINDINGS AND IMPRESSIONS|FINDINGS/IMPRESSION|FINDINGS & IMPRESSION|IMPRESSION AND FINDINGS|"
    "IMPRESSION/FINDINGS",
    "impression": "IMPRESSION|IMPRESSIONS|CONCLUSION|CONCLUSIONS|OPINION|SUMMARY|FINAL IMPRESSION|"
    "IMPRESSION AND RECOMMENDATION|IMPRESSION AND RECOMMENDATIONS|IMPRESSION/RECOMMENDATION|"
    "IMPERSSION|IMPRESION|IMPRSSION",
    "comparison": "COMPARISON|COMPARISONS|COMPARISON STUDY|COMPARISON STUDIES",
    "other": "EXAMINATION|EXAM|EXAMINATIONS|STUDY|TYPE OF EXAMINATION|PROCEDURE|INDICATION|"
    "INDICATIONS|REASON FOR EXAM|REASON FOR EXAMINATION|REASON|HISTORY|CLINICAL HISTORY|"
    "CLINICAL INFORMATION|CLINICAL INDICATION|TECHNIQUE|TECHNIQUES|NOTIFICATION|NOTIFICATIONS|"
    "DATE|RECOMMENDATION|RECOMMENDATIONS|RECOMMENDATION(S)|DOSE|CONTRAST|ADDENDUM|ADDENDA|"
    "WET READ|PROVISIONAL FINDINGS IMPRESSION (PFI)",
}
_KINDS = {name: kind for kind, names in _HEADINGS.items() for name in names.split("|")}
_VIEW = re.compile(
    r"\b(CHEST|VIEWS?|RADIOGRAPHS?|PORTABLE|FRONTAL|LATERAL|PA|AP|X-RAY|XRAY|FILMS?|CXR)\b"
)
# At most 60 characters, so that a sentence in capitals before a colon is rarely a heading.
_HEADING = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_ ,/&()'.-]{2,59}?)[ \t]*:(?![0-9])")
_LOOSE = re.compile(r"\s+([.,;:)])")
_FINAL = re.compile(r"^[ \t]*FINAL REPORT[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"[\s_=*-]*")
_BLANK = re.compile(r"\n[ \t]*\n")


def split_report(report: str) -> dict[str, str]:
    """Return the sections of any report, white space collapsed, by these rules, in this order.

    Keys are ``findings``, ``impression``, ``comparison`` and ``last_paragraph``, empty if missing.

    1. The report follows the last line ``FINAL REPORT``; wet reads and addenda before are ignored.
    2. A section begins at a line that starts with a known heading and a colon, in any case, or with
       an unknown heading in capitals and a colon. Headings of findings include combinations such as
       ``FINDINGS AND IMPRESSION``.
    3. Inside findings and impression an unknown heading (``LUNGS:``) is part of the text.
    4. A heading in capitals that names a view or an examination (``PA AND LATERAL CHEST:``) begins
       findings, unless findings or an impression precede it.
    5. Sections of one kind are joined in order, without duplicates and addenda.
    6. Without findings and impression, the last paragraph outside of known sections is used.
    """
    body = _FINAL.split(report.replace("\r\n", "\n").replace("\r", "\n"))[-1]
    found: dict[Kind, list[str]] = {"findings": [], "impression": [], "comparison": []}
    free: list[str] = []  # paragraphs outside of any section
    kind: Kind = "other"
    headed, lines = False, list[str]()

    def close() -> None:
        # Lines of dashes or underscores alone are separators.
        text = "\n".join("" if _RULE.fullmatch(line) else line for line in lines)
        if kind in ("findings", "impression"):
            found[kind].append(collapse(text))
            return
        parts = [part for part in map(collapse, _BLANK.split(text)) if part]
        if headed and kind == "comparison":
            found[kind] += parts[:1]
        free.extend(parts[1:] if headed else parts)

    for line in body.split("\n"):
        begun = _begins(line, kind, bool(found["findings"] or found["impression"]))
        if begun is None:
            lines.append(line)
            continue
        close()
        kind, rest = begun
        headed, lines = True, [rest]
    close()
    joined: dict[str, str] = {
        name: " ".join(dict.fromkeys(filter(None, parts))) for name, parts in found.items()
    }
    last = free[-1] if free and not (joined["findings"] or joined["impression"]) else ""
    return {**joined, "last_paragraph": last}


def _begins(line: str, kind: Kind, started: bool) -> tuple[Kind, str] | None:
    """Return the section that a line begins and the rest of the line; None within a section."""
    match = _HEADING.match(line)
    if match is None:
        return None
    name = collapse(match[1]).upper()
    rest = line[match.end() :]
    if name in _KINDS:
        return _KINDS[name], rest
    if kind in ("findings", "impression") or not match[1].isupper():
        return None
    return ("findings" if _VIEW.search(name) and not started else "other"), rest


def chosen_sections(sections: Sequence[str] | None) -> tuple[str, ...]:
    """Return the sections of a text, by default all; a UserError for unknown or repeated ones."""
    wanted = get_args(Section) if sections is None else tuple(sections)
    if not wanted or len(set(wanted)) < len(wanted) or set(wanted) - set(get_args(Section)):
        raise UserError(
            f"data.init_args.sections is {list(wanted)}: give one or more of "
            f"{', '.join(get_args(Section))}, each once."
        )
    return wanted


def without_placeholders(text: str, placeholder: re.Pattern[str]) -> str:
    """Remove what replaces de-identified words, and blanks before punctuation."""
    return collapse(_LOOSE.sub(r"\1", placeholder.sub(" ", text)))


NAME = "mimic_cxr_sectioned.csv"
COLUMNS = ("study", "findings", "impression", "last_paragraph", "comparison")
RULES = 1  # increased when the same report gives other sections


def read_sectioned(
    dataset: str, path: Path, columns: Sequence[str], dropped: list[DroppedRow]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield number (without ``s``) and cells of each study of a table that has ``columns``.

    Append unreadable lines to ``dropped``.
    """
    source = TableFile(path, dataset, "delete it: the next run builds it again from the reports")
    for _, row in read_table(source, ("study", *columns), dropped):
        yield row["study"].strip().removeprefix("s"), row


def build_sectioned(dataset: str, reports: Path, path: Path) -> None:
    """Write the table ``path`` of a folder of reports (``p10/p10000032/s50414267.txt``) once.

    Rows are appended to a temporary file, which is renamed at the end, so the table is never
    incomplete. A later run continues after a killed one; other processes wait for the first one.
    Bytes of a report that are not UTF-8 become U+FFFD.

    Raises:
        UserError: If there are no reports, or the table cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished-{RULES}")
    advice = "run the command in a folder that can be written"
    with locked(path, advice):
        if path.is_file():  # written by another process in the meantime
            return
        try:
            with unfinished.open("a+", encoding="utf-8", newline="") as stream:
                done = _kept(unfinished)
                writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
                if not done:
                    writer.writeheader()
                files = _report_files(dataset, reports)
                for file in tqdm(files, "report sections", unit="report", disable=None):
                    if file.stem not in done:
                        parts = split_report(file.read_text(encoding="utf-8", errors="replace"))
                        writer.writerow({"study": file.stem, **parts})
            os.replace(unfinished, path)
        except OSError as error:
            raise UserError(
                f"{dataset}: the sections of the reports under {reports} could not be written to "
                f"{path} ({error.strerror}: {error.filename}), so {advice}."
            ) from error


def report_folder(root: Path, given: str) -> Path | None:
    """Return the folder with ``p10`` ... among the usual places, or None."""
    above = [Path(given)] if given else [root / "mimic-cxr-reports", root]
    for folder in (place for top in above for place in (top / "files", top)):
        if folder.is_dir() and next(_patients(folder), None) is not None:
            return folder
    return None


def no_reports(dataset: str, root: Path, given: str) -> UserError:
    """Return the error of missing reports."""
    where = given or root / "mimic-cxr-reports"
    return UserError(
        f"{dataset}: there is neither {NAME} in {root} nor a report such as "
        f"files/p10/p10000032/s50414267.txt under {where}, so unpack mimic-cxr-reports.zip from "
        f"{REPORTS_ACCESS} there, or give its folder as --data.init_args.reports."
    )


def _kept(unfinished: Path) -> set[str]:
    """Truncate an unfinished table after its last complete row; return its studies."""
    with unfinished.open("r+b") as stream:
        text = stream.read()
        # Cells contain no line breaks, so every terminated line is a complete row.
        whole = text[: text.rfind(b"\n") + 1]
        stream.truncate(len(whole))
    return {line.partition(b",")[0].decode() for line in whole.split(b"\n") if line}


def _report_files(dataset: str, reports: Path) -> list[Path]:
    files = (file for patient in _patients(reports) for file in sorted(patient.glob("s*.txt")))
    found = [file for file in files if file.stem[1:].isdigit()]
    if not found:
        raise no_reports(dataset, reports, str(reports))
    return found


def _patients(folder: Path) -> Iterator[Path]:
    """Yield folders of patients with reports; those of MIMIC-CXR-JPG contain only images."""
    for group in sorted(folder.glob("p[0-9][0-9]")):
        for patient in sorted(group.glob("p[0-9]*")):
            if any(patient.glob("s*.txt")):
                yield patient
