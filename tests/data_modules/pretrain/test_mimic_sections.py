"""Sections of reports: the variants of headings, and any text at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.preprocessing.normalization import collapse
from data_modules.pretrain.mimic_sections import Sections, split_report

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
        # Several impressions are joined, a repeated one is said once.
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
        # What stands before the report itself is not read.
        ("WET READ: Edema.\n IMPRESSION: Edema.\n\n FINAL REPORT\n IMPRESSION: None.", "", "None."),
        ("FINAL ADDENDUM\n ADDENDUM: Odd.\n____\n FINAL REPORT\n FINDINGS: Clear.", "Clear.", ""),
        ("IMPRESSION: None.\n\nADDENDUM: Told.\n\nMore.", "", "None."),
        ("FINDINGS: Clear.\r\n\r\nIMPRESSION: Normal.\r\n", "Clear.", "Normal."),
    ],
)
def test_findings_and_impression(report: str, findings: str, impression: str) -> None:
    found = split_report(report)
    assert (found.findings, found.impression, found.last_paragraph) == (findings, impression, "")


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
    assert (found.findings, found.impression, found.last_paragraph) == ("", "", last)


def test_what_it_was_compared_with() -> None:
    found = split_report("COMPARISON: ___,\n two films.\n\nLungs are clear.")
    assert found == Sections(comparison="___, two films.", last_paragraph="Lungs are clear.")


@few
@given(
    st.text(st.one_of(st.sampled_from("FINDINGS IMPRESSION:\n_ "), st.characters()), max_size=200)
)
def test_any_text_has_sections(report: str) -> None:
    found = split_report(report)
    for text in (found.findings, found.impression, found.last_paragraph, found.comparison):
        assert text == collapse(text)
    assert not (found.last_paragraph and (found.findings or found.impression))


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
    assert (found.findings, found.impression) == (findings, impression)
