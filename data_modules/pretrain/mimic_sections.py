"""The sections of a radiology report as MIMIC-CXR prints them.

Rules, in this order:

1. The report is what follows the last line ``FINAL REPORT``: wet reads and addenda before it are
   left out.
2. A section begins at a line that begins with a known heading and a colon, in any case, or with an
   unknown heading in capitals and a colon. ``FINDINGS AND IMPRESSION`` and its like are findings.
3. Inside findings and impression an unknown heading (``LUNGS:``) is part of the text.
4. A heading in capitals that names a view or an examination (``PA AND LATERAL CHEST:``) begins
   findings, unless findings or an impression come before it.
5. Sections of one kind are joined in order, each wording once. An addendum belongs to none.
6. Without findings and impression the last paragraph is kept that no other known heading begins.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from amif_lightning.data.files.atomic import locked
from amif_lightning.data.files.tables import TableFile, read_table
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.errors import UserError
from data_modules.pretrain.mimic_tables import REPORTS

Kind = Literal["findings", "impression", "comparison", "other"]

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        (
            *("FINDINGS", "FINDING", "REPORT", "CHEST FINDINGS"),
            *("FINDINGS AND IMPRESSION", "FINDINGS AND IMPRESSIONS", "FINDINGS/IMPRESSION"),
            *("FINDINGS & IMPRESSION", "IMPRESSION AND FINDINGS", "IMPRESSION/FINDINGS"),
        ),
        "findings",
    ),
    **dict.fromkeys(
        (
            *("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS", "OPINION", "SUMMARY"),
            *("FINAL IMPRESSION", "IMPRESSION AND RECOMMENDATION", "IMPRESSION/RECOMMENDATION"),
            *("IMPRESSION AND RECOMMENDATIONS", "IMPERSSION", "IMPRESION", "IMPRSSION"),
        ),
        "impression",
    ),
    **dict.fromkeys(
        ("COMPARISON", "COMPARISONS", "COMPARISON STUDY", "COMPARISON STUDIES"), "comparison"
    ),
    **dict.fromkeys(
        (
            *("EXAMINATION", "EXAM", "EXAMINATIONS", "STUDY", "TYPE OF EXAMINATION", "PROCEDURE"),
            *("INDICATION", "INDICATIONS", "REASON FOR EXAM", "REASON FOR EXAMINATION", "REASON"),
            *("HISTORY", "CLINICAL HISTORY", "CLINICAL INFORMATION", "CLINICAL INDICATION"),
            *("TECHNIQUE", "TECHNIQUES", "NOTIFICATION", "NOTIFICATIONS", "DATE"),
            *("RECOMMENDATION", "RECOMMENDATIONS", "RECOMMENDATION(S)", "DOSE", "CONTRAST"),
            *("ADDENDUM", "ADDENDA", "WET READ", "PROVISIONAL FINDINGS IMPRESSION (PFI)"),
        ),
        "other",
    ),
}
_VIEW = re.compile(
    r"\b(CHEST|VIEWS?|RADIOGRAPHS?|PORTABLE|FRONTAL|LATERAL|PA|AP|X-RAY|XRAY|FILMS?|CXR)\b"
)
# At most 60 characters, so that a sentence in capitals before a colon is rarely a heading.
_HEADING = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_ ,/&()'.-]{2,59}?)[ \t]*:(?![0-9])")
_FINAL = re.compile(r"^[ \t]*FINAL REPORT[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"[\s_=*-]*")
_BLANK = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Sections:
    """What a report says, white space collapsed; empty where it has no such section.

    ``last_paragraph`` is filled only where there are neither findings nor impression.
    """

    findings: str = ""
    impression: str = ""
    last_paragraph: str = ""
    comparison: str = ""


def split_report(report: str) -> Sections:
    """Find the sections of a report by the rules above; any text has some result."""
    body = _FINAL.split(report.replace("\r\n", "\n").replace("\r", "\n"))[-1]
    found: dict[Kind, list[str]] = {name: [] for name in ("findings", "impression", "comparison")}
    free: list[str] = []  # paragraphs that no heading begins
    kind: Kind = "other"
    headed, lines = False, list[str]()
    for line in body.split("\n"):
        begun = _begins(line, kind, bool(found["findings"] or found["impression"]))
        if begun is not None:
            _close(kind, headed, lines, found, free)
            kind, rest = begun
            headed, lines = True, [rest]
        else:
            lines.append(line)
    _close(kind, headed, lines, found, free)
    findings, impression = (_joined(found[name]) for name in ("findings", "impression"))
    return Sections(
        findings=findings,
        impression=impression,
        last_paragraph=free[-1] if free and not (findings or impression) else "",
        comparison=_joined(found["comparison"]),
    )


def _begins(line: str, kind: Kind, started: bool) -> tuple[Kind, str] | None:
    """The section that a line begins and what of the line is its text; None where it goes on."""
    match = _HEADING.match(line)
    if match is None:
        return None
    name = collapse(match[1]).upper()
    rest = line[match.end() :]
    if name in _KINDS:
        return _KINDS[name], rest
    if kind in ("findings", "impression") or not match[1].isupper():
        return None
    if _VIEW.search(name) and not started:
        return "findings", rest
    return "other", rest


def _close(
    kind: Kind, headed: bool, lines: list[str], found: dict[Kind, list[str]], free: list[str]
) -> None:
    # Lines of dashes or underscores alone separate parts and say nothing.
    text = "\n".join("" if _RULE.fullmatch(line) else line for line in lines)
    if kind in ("findings", "impression"):
        found[kind].append(collapse(text))
        return
    parts = [part for part in map(collapse, _BLANK.split(text)) if part]
    if headed and kind == "comparison":
        found[kind] += parts[:1]
    free += parts[1:] if headed else parts


def _joined(parts: list[str]) -> str:
    return " ".join(dict.fromkeys(part for part in parts if part))


NAME = "mimic_cxr_sectioned.csv"
COLUMNS = ("study", "findings", "impression", "last_paragraph", "comparison")
RULES = 1  # raised whenever the same report gives other sections


def read_sectioned(
    dataset: str, path: Path, columns: Sequence[str], dropped: list[DroppedRow]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Read such a table, whoever made it.

    Args:
        dataset: Name of the data class.
        path: The file, packed or not.
        columns: Sections that it must have.
        dropped: Takes lines that cannot be read.

    Yields:
        The number of a study, without ``s``, and its cells.
    """
    source = TableFile(path, dataset, "delete it, and it is made anew from the reports")
    for _, row in read_table(source, ("study", *columns), dropped):
        yield row["study"].strip().removeprefix("s"), row


def build_sectioned(dataset: str, reports: Path, path: Path, progress: bool = True) -> None:
    """Make the table of a folder of reports, unless it is there already.

    Rows are appended to a file beside it that is renamed at the end, so the table is whole or not
    there; a killed run continues where it stopped. Processes that make it at once wait for the
    first one. Bytes of a report that are no UTF-8 become U+FFFD.

    Args:
        dataset: Name of the data class.
        reports: Folder with ``p10/p10000032/s50414267.txt``.
        path: The table.
        progress: Show a progress bar.

    Raises:
        UserError: If the folder holds no report, or the table cannot be written.
    """
    if path.is_file():
        return
    unfinished = path.with_name(f".{path.name}.unfinished-{RULES}")
    advice = "give another file as --data.init_args.sections_file"
    with locked(path, advice):
        if path.is_file():  # another process made it meanwhile
            return
        try:
            with unfinished.open("a+", encoding="utf-8", newline="") as stream:
                done = _kept(unfinished)
                writer = csv.writer(stream, lineterminator="\n")
                if not done:
                    writer.writerow(COLUMNS)
                files = _report_files(dataset, reports)
                for file in tqdm(files, "report sections", unit="report", disable=not progress):
                    if file.stem not in done:
                        parts = split_report(file.read_text(encoding="utf-8", errors="replace"))
                        writer.writerow([file.stem, *(getattr(parts, c) for c in COLUMNS[1:])])
            os.replace(unfinished, path)
        except OSError as error:
            raise UserError(
                f"{dataset}: the sections of the reports under {reports} could not be written to "
                f"{path} ({error.strerror}: {error.filename}), so {advice}."
            ) from error


def report_folder(root: Path, given: str) -> Path | None:
    """The folder with ``p10`` ... among the usual places; None where there is none."""
    above = [Path(given)] if given else [root / "mimic-cxr-reports", root]
    for folder in (place for top in above for place in (top / "files", top)):
        if folder.is_dir() and next(_patients(folder), None) is not None:
            return folder
    return None


def no_reports(dataset: str, root: Path, given: str) -> UserError:
    """One sentence that says what is missing and where it is to be had."""
    where = given or root / "mimic-cxr-reports"
    return UserError(
        f"{dataset}: there is neither {NAME} in {root} nor a report such as "
        f"files/p10/p10000032/s50414267.txt under {where}, so unpack mimic-cxr-reports.zip from "
        f"{REPORTS} (PhysioNet credentialed access, signed agreement) there, or give its folder as "
        "--data.init_args.reports."
    )


def _kept(unfinished: Path) -> set[str]:
    """Cut an unfinished table behind its last whole row; return its studies."""
    with unfinished.open("r+b") as stream:
        text = stream.read()
        # No cell holds a line break, so every line that is ended is a whole row.
        whole = text[: text.rfind(b"\n") + 1]
        stream.truncate(len(whole))
    return {line.partition(b",")[0].decode() for line in whole.split(b"\n") if line}


def _report_files(dataset: str, reports: Path) -> list[Path]:
    found = [
        report
        for patient in _patients(reports)
        for report in sorted(patient.glob("s*.txt"))
        if report.stem[1:].isdigit()
    ]
    if not found:
        raise no_reports(dataset, reports, str(reports))
    return found


def _patients(folder: Path) -> Iterator[Path]:
    """Folders of patients that hold a report: MIMIC-CXR-JPG's own hold images alone."""
    for group in sorted(folder.glob("p[0-9][0-9]")):
        for patient in sorted(group.glob("p[0-9]*")):
            if any(patient.glob("s*.txt")):
                yield patient
