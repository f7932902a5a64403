"""``mimic_cxr_sectioned.csv``: the sections of all reports in one table, made once and read back.

Users make such a table themselves, since nothing derived from MIMIC-CXR may be passed on. Columns:
study (``s50414267``), findings, impression, last_paragraph, comparison.
"""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from amif_lightning.errors import UserError
from data_modules.corpus_files import Source, read_table
from data_modules.mimic.files import REPORTS
from data_modules.mimic.sections import split_report
from data_modules.rows import DroppedRow

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

    Raises:
        UserError: If it is damaged or has not these columns.
    """
    source = Source(path, dataset, "delete it, and it is made anew from the reports")
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("a+", encoding="utf-8", newline="") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if path.is_file():  # another process ended it meanwhile, and this one made a new file
                if not stream.tell():
                    unfinished.unlink(missing_ok=True)
                return
            done = _kept(unfinished)
            writer = csv.writer(stream, lineterminator="\n")
            if not done:
                writer.writerow(COLUMNS)
            files = _report_files(dataset, reports)
            for file in tqdm(files, "report sections", unit="report", disable=not progress):
                if file.stem not in done:
                    parts = split_report(file.read_text(encoding="utf-8", errors="replace"))
                    writer.writerow([file.stem, *(getattr(parts, c) for c in COLUMNS[1:])])
            stream.flush()
            os.replace(unfinished, path)
    except OSError as error:
        raise UserError(
            f"{dataset}: the sections of the reports under {reports} could not be written to "
            f"{path} ({error.strerror}: {error.filename}), so give another file as "
            "--data.init_args.sections_file."
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
    """Folders of patients that hold a report: MIMIC-CXR-JPG's own hold pictures alone."""
    for group in sorted(folder.glob("p[0-9][0-9]")):
        for patient in sorted(group.glob("p[0-9]*")):
            if any(patient.glob("s*.txt")):
                yield patient
