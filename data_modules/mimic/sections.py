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

import re
from dataclasses import dataclass
from typing import Literal

from data_modules.text import collapse

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

    Attributes:
        findings: What is seen.
        impression: What it means.
        last_paragraph: The last paragraph, where there are neither findings nor impression.
        comparison: What it was compared with.
    """

    findings: str = ""
    impression: str = ""
    last_paragraph: str = ""
    comparison: str = ""


def split_report(report: str) -> Sections:
    """Find the sections of a report.

    Args:
        report: The text of a report file.

    Returns:
        Its sections, by the rules above; any text has some result, also an empty one.
    """
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


def _begins(line: str, kind: Kind, said: bool) -> tuple[Kind, str] | None:
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
    if _VIEW.search(name) and not said:
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
