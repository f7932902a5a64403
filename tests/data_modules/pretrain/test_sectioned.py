"""The table of sections: whole or not there, continued after a stop, never doubled."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from data_modules.pretrain import mimic_sections as sectioned
from data_modules.pretrain.mimic_sections import (
    RULES,
    Sections,
    build_sectioned,
    read_sectioned,
    report_folder,
    split_report,
)
from tests.fakes_corpora import STUDIES, write_mimic_cxr


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    write_mimic_cxr(tmp_path / "mimic")
    return tmp_path / "mimic" / "mimic-cxr-reports" / "files"


def test_every_report_has_a_row(tmp_path: Path, reports: Path) -> None:
    path = tmp_path / "out" / "sections.csv"
    build_sectioned("Made", reports, path, progress=False)
    rows = dict(read_sectioned("Made", path, ("findings", "impression"), []))
    assert list(rows) == [str(study[0]) for study in STUDIES]
    assert rows["50000001"]["findings"] == "Lungs are clear."
    assert rows["50000003"]["impression"] == "Number 3 of ___."
    assert not list(path.parent.glob("*unfinished*"))


def test_a_table_that_is_there_is_left_alone(tmp_path: Path, reports: Path) -> None:
    path = tmp_path / "sections.csv"
    path.write_text("study,findings\n")
    build_sectioned("Made", reports, path, progress=False)
    assert path.read_text() == "study,findings\n"


@pytest.mark.parametrize("cut", [0, 3, 40, 300])
def test_a_stopped_run_is_continued(
    tmp_path: Path, reports: Path, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.csv"
    build_sectioned("Made", reports, whole, progress=False)
    path = tmp_path / "sections.csv"
    kept = whole.read_bytes()[:cut]
    (tmp_path / f".sections.csv.unfinished-{RULES}").write_bytes(kept)
    read: list[str] = []

    def counted(report: str) -> Sections:
        read.append(report)
        return split_report(report)

    monkeypatch.setattr(sectioned, "split_report", counted)
    build_sectioned("Made", reports, path, progress=False)
    assert path.read_bytes() == whole.read_bytes()
    assert len(read) == len(STUDIES) - max(0, kept.count(b"\n") - 1)


def test_two_at_once_make_one_table(tmp_path: Path, reports: Path) -> None:
    path = tmp_path / "sections.csv"
    threads = [
        threading.Thread(target=build_sectioned, args=("Made", reports, path, False))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(path.read_text().splitlines()) == len(STUDIES) + 1
    assert not list(tmp_path.glob("*unfinished*"))


def test_reports_are_found_in_the_usual_places(tmp_path: Path, reports: Path) -> None:
    root = tmp_path / "mimic"
    assert report_folder(root, "") == reports
    assert report_folder(root, str(reports.parent)) == reports
    assert report_folder(tmp_path / "none", str(reports)) == reports
    # MIMIC-CXR-JPG's own folder of images holds no report.
    assert report_folder(root, str(root / "files")) is None


def test_no_report_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unpack mimic-cxr-reports\.zip"):
        build_sectioned("Made", tmp_path, tmp_path / "sections.csv", progress=False)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, reports: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .* --data\.init_args\.sections_file"):
        build_sectioned("Made", reports, tmp_path / "file" / "sections.csv", progress=False)
