"""Sections of reports: variants of headings, any text, and the table that is made once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.errors import UserError
from data_modules.pretrain import mimic_sections
from data_modules.pretrain.mimic_sections import (
    RULES,
    build_sectioned,
    read_sectioned,
    report_folder,
    split_report,
)
from tests.fakes_corpora import STUDIES, write_mimic_cxr

few = settings(max_examples=50, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("report", "findings", "impression"),
    [
        ("FINDINGS: Clear.\n\nIMPRESSION: Normal.", "Clear.", "Normal."),
        (" FINDINGS:  \n \n Clear\n lungs.\n \n IMPRESSION:\n Normal.", "Clear lungs.", "Normal."),
        ("Findings: Clear.\nImpression: Normal.", "Clear.", "Normal."),
        ("FINDINGS AND IMPRESSION:\n Clear.", "Clear.", ""),
        ("FINDINGS/IMPRESSION: Clear.", "Clear.", ""),
        ("CONCLUSION: Normal.", "", "Normal."),
        # Several impressions are joined, a repeated one is kept once.
        ("IMPRESSION: One.\n\nIMPRESSION: Two.\n\nIMPRESSION: One.", "", "One. Two."),
        # Parts of structured findings stay in their text.
        ("FINDINGS:\n LUNGS: Clear.\n HEART: Big.", "LUNGS: Clear. HEART: Big.", ""),
        (
            "IMPRESSION:\n AP chest compared to ___:\n\n Edema.",
            "",
            "AP chest compared to ___: Edema.",
        ),
        ("IMPRESSION: Seen at 8:15.\n\nNOTIFICATION: Told by phone.", "", "Seen at 8:15."),
        # A view in capitals heads the findings.
        ("HISTORY: Cough.\n\nPA AND LATERAL CHEST, ___: Clear.", "Clear.", ""),
        ("CHEST, TWO VIEWS: Clear.\n\nIMPRESSION: Normal.", "Clear.", "Normal."),
        # Text before the report itself is not read.
        ("WET READ: Edema.\n IMPRESSION: Edema.\n\n FINAL REPORT\n IMPRESSION: None.", "", "None."),
        ("FINAL ADDENDUM\n ADDENDUM: Odd.\n____\n FINAL REPORT\n FINDINGS: Clear.", "Clear.", ""),
        ("IMPRESSION: None.\n\nADDENDUM: Told.\n\nMore.", "", "None."),
        ("FINDINGS: Clear.\r\n\r\nIMPRESSION: Normal.\r\n", "Clear.", "Normal."),
    ],
)
def test_findings_and_impression(report: str, findings: str, impression: str) -> None:
    found = split_report(report)
    assert (found["findings"], found["impression"], found["last_paragraph"]) == (
        findings,
        impression,
        "",
    )


@pytest.mark.parametrize(
    ("report", "last"),
    [
        ("FINAL REPORT\n INDICATION: Cough.\n \n The heart\n is big.\n", "The heart is big."),
        ("COMPARISON: ___.\n\nLungs are clear.\n\nHeart is big.\n______", "Heart is big."),
        ("EXAM:\n\n CHEST\n\nINDICATION:\n\n cough", ""),
        ("Clear.\n\nTECHNIQUE: Two films.", "Clear."),
        ("", ""),
        ("REPORT UNAVAILABLE", "REPORT UNAVAILABLE"),
    ],
)
def test_without_headings_the_last_paragraph_is_kept(report: str, last: str) -> None:
    found = split_report(report)
    assert (found["findings"], found["impression"], found["last_paragraph"]) == ("", "", last)


def test_what_it_was_compared_with() -> None:
    found = split_report("COMPARISON: ___,\n two films.\n\nLungs are clear.")
    assert found == {
        **dict.fromkeys(("findings", "impression"), ""),
        **{"comparison": "___, two films.", "last_paragraph": "Lungs are clear."},
    }


@few
@given(
    st.text(st.one_of(st.sampled_from("FINDINGS IMPRESSION:\n_ "), st.characters()), max_size=200)
)
def test_any_text_has_sections(report: str) -> None:
    found = split_report(report)
    for text in found.values():
        assert text == collapse(text)
    assert not (found["last_paragraph"] and (found["findings"] or found["impression"]))


sentence = st.lists(st.sampled_from(["lungs", "are", "clear", "5", "mm", "no"]), min_size=1).map(
    lambda words: " ".join(words) + "."
)


@few
@given(
    findings=sentence,
    impression=sentence,
    names=st.sampled_from([("FINDINGS", "IMPRESSION"), ("Findings", "Conclusion")]),
    gap=st.sampled_from(["", " ", "\n", " \n\n "]),
)
def test_sections_are_found_whatever_the_gaps(
    findings: str, impression: str, names: tuple[str, str], gap: str
) -> None:
    report = f"{names[0]}:{gap} {findings}\n \n {names[1]}:{gap} {impression}\n"
    found = split_report(report)
    assert (found["findings"], found["impression"]) == (findings, impression)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    write_mimic_cxr(tmp_path / "mimic")
    return tmp_path / "mimic" / "mimic-cxr-reports" / "files"


def test_every_report_has_a_row(tmp_path: Path, reports: Path) -> None:
    path = tmp_path / "out" / "sections.csv"
    build_sectioned("Made", reports, path)
    rows = dict(read_sectioned("Made", path, ("findings", "impression"), []))
    assert list(rows) == [str(study[0]) for study in STUDIES]
    assert rows["50000001"]["findings"] == "Lungs are clear."
    assert rows["50000003"]["impression"] == "Number 3 of ___."
    assert not list(path.parent.glob("*unfinished*"))
    path.write_text("study,findings\n")  # a table that is there is left alone
    build_sectioned("Made", reports, path)
    assert path.read_text() == "study,findings\n"


@pytest.mark.parametrize("cut", [0, 3, 40, 300])
def test_a_stopped_run_is_continued(
    tmp_path: Path, reports: Path, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.csv"
    build_sectioned("Made", reports, whole)
    path = tmp_path / "sections.csv"
    kept = whole.read_bytes()[:cut]
    (tmp_path / f".sections.csv.unfinished-{RULES}").write_bytes(kept)
    read: list[str] = []

    def counted(report: str) -> dict[str, str]:
        read.append(report)
        return split_report(report)

    monkeypatch.setattr(mimic_sections, "split_report", counted)
    build_sectioned("Made", reports, path)
    assert path.read_bytes() == whole.read_bytes()
    assert len(read) == len(STUDIES) - max(0, kept.count(b"\n") - 1)


def test_two_at_once_make_one_table(tmp_path: Path, reports: Path) -> None:
    path = tmp_path / "sections.csv"
    threads = [
        threading.Thread(target=build_sectioned, args=("Made", reports, path)) for _ in range(3)
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


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, reports: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .* in a folder that can be written"):
        build_sectioned("Made", reports, tmp_path / "file" / "sections.csv")
