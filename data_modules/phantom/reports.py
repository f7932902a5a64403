"""Reports written from the findings, in varied words and two sections.

Two studies with equal findings get different words: the case in which hard labels are wrong and
the soft labels of the alignment losses are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_modules.phantom.simulator.findings import COUNTS, KINDS, Finding, Kind

_SENTENCES: dict[Kind, tuple[str, ...]] = {
    "nodule": (
        "There is a nodule in the {zone} zone of the {side} lung.",
        "A round nodule projects over the {side} {zone} zone.",
        "A solitary pulmonary nodule is seen in the {side} lung, {zone} third.",
        "{Side} {zone} zone nodule.",
        "A small round opacity, consistent with a nodule, lies in the {zone} {side} lung.",
    ),
    "mass": (
        "There is a {size} mass in the {zone} zone of the {side} lung.",
        "A {size} rounded mass projects over the {side} {zone} zone.",
        "{Side} lung mass of {size} size in the {zone} third.",
        "A {size}, well defined mass occupies the {zone} {side} lung.",
    ),
    "effusion": (
        "There is a {size} {side} pleural effusion.",
        "Fluid at the base of the {side} lung, in keeping with a {size} effusion.",
        "{Side} sided pleural effusion, {size}.",
        "The {side} costophrenic angle is blunted by a {size} pleural effusion.",
    ),
    "consolidation": (
        "There is {size} patchy consolidation in the {zone} zone of the {side} lung.",
        "{Size} area of consolidation in the {side} {zone} zone.",
        "Patchy air space opacity of {size} extent in the {zone} {side} lung, consolidation.",
        "The {side} lung shows a {size} consolidation in its {zone} third.",
    ),
    "pneumothorax": (
        "There is a {size} {side} pneumothorax.",
        "{Size} {side} sided pneumothorax with partial collapse of the lung.",
        "Air in the {side} pleural space, a {size} pneumothorax.",
        "The {side} lung is separated from the chest wall by a {size} pneumothorax.",
    ),
    "cardiomegaly": (
        "The heart is enlarged.",
        "There is cardiomegaly.",
        "The cardiac silhouette is enlarged.",
        "Heart size is increased beyond normal.",
    ),
}
_BILATERAL_EFFUSION = (
    "There are {size} bilateral pleural effusions.",
    "{Size} effusions at both lung bases.",
    "Both costophrenic angles are blunted by {size} pleural effusions.",
    "Pleural effusion on both sides, {size}.",
)
_SEVERAL_NODULES = (
    "There are {count} nodules in {where}.",
    "{Count} round nodules project over {where}.",
    "{Count} pulmonary nodules are seen in {where}.",
    "Multiple nodules, {count} in number, lie in {where}.",
)
_ABSENT: dict[Kind, tuple[str, ...]] = {
    "nodule": ("No pulmonary nodule.", "No nodule is seen.", "There are no nodules."),
    "mass": ("No mass.", "No pulmonary mass is seen.", "There is no mass."),
    "effusion": (
        "No pleural effusion.",
        "The costophrenic angles are clear.",
        "There is no effusion.",
    ),
    "consolidation": ("No consolidation.", "No air space disease.", "There is no consolidation."),
    "pneumothorax": (
        "No pneumothorax.",
        "There is no pneumothorax.",
        "No pneumothorax is identified.",
    ),
    "cardiomegaly": (
        "Heart size is normal.",
        "The heart is not enlarged.",
        "The cardiac silhouette is normal.",
    ),
}
_CLEAR = ("The lungs are clear.", "Both lungs are clear.", "Clear lungs.", "Lungs well aerated.")
_OPENINGS = (
    "",
    "Frontal and lateral views of the chest.",
    "Two views of the chest were obtained.",
    "PA and lateral radiographs of the chest.",
)
_NORMAL_IMPRESSIONS = (
    "No acute cardiopulmonary abnormality.",
    "Normal chest radiograph.",
    "No abnormality.",
    "Normal heart and lungs.",
    "No evidence of acute disease.",
)
_IMPRESSIONS: dict[Kind, tuple[str, ...]] = {
    "nodule": ("{Side} {zone} zone nodule.", "Nodule in the {zone} {side} lung."),
    "mass": ("{Size} {side} {zone} zone mass.", "{Size} mass in the {zone} {side} lung."),
    "effusion": ("{Size} {side} effusion.", "{Side} pleural effusion, {size}."),
    "consolidation": (
        "{Size} {side} {zone} zone consolidation.",
        "Consolidation of the {zone} {side} lung, {size}.",
    ),
    "pneumothorax": ("{Size} {side} pneumothorax.", "{Side} pneumothorax, {size}."),
    "cardiomegaly": ("Cardiomegaly.", "Enlarged heart."),
}
_BILATERAL_IMPRESSIONS = ("{Size} bilateral effusions.", "Bilateral pleural effusions, {size}.")
_NODULE_IMPRESSIONS = ("{Count} nodules in {where}.", "{Count} pulmonary nodules, {where}.")


@dataclass(frozen=True, slots=True)
class Report:
    """The two sections of a report.

    Attributes:
        findings: What is seen, and some of what is not.
        impression: The conclusion.
    """

    findings: str
    impression: str

    @property
    def text(self) -> str:
        """Both sections as one text."""
        return f"{self.findings} {self.impression}"


def write_report(rng: np.random.Generator, findings: Sequence[Finding]) -> Report:
    """Write the report of a study; ``rng`` picks words and order, the findings the content."""
    seen = [_fill(_choose(rng, _sentences(finding)), finding) for finding in findings]
    seen = [seen[int(i)] for i in rng.permutation(len(seen))]
    present = {finding.kind for finding in findings}
    absent = [kind for kind in KINDS if kind not in present]
    kept = rng.permutation(len(absent))[: int(rng.integers(2, 4 if findings else 5))]
    negatives = [_choose(rng, _ABSENT[absent[int(i)]]) for i in kept]
    if not findings:
        seen = [_choose(rng, _CLEAR)]
    body = [*seen, *negatives] if rng.random() < 0.75 else [*negatives, *seen]
    opening = _choose(rng, _OPENINGS)
    impressions = [_fill(_choose(rng, _conclusions(finding)), finding) for finding in findings]
    impression = " ".join(impressions) or _choose(rng, _NORMAL_IMPRESSIONS)
    return Report(" ".join([opening, *body] if opening else body), impression)


def _choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _sentences(finding: Finding) -> Sequence[str]:
    if finding.kind == "nodule" and finding.count > 1:
        return _SEVERAL_NODULES
    if finding.kind == "effusion" and finding.side == "both":
        return _BILATERAL_EFFUSION
    return _SENTENCES[finding.kind]


def _conclusions(finding: Finding) -> Sequence[str]:
    if finding.kind == "nodule" and finding.count > 1:
        return _NODULE_IMPRESSIONS
    if finding.kind == "effusion" and finding.side == "both":
        return _BILATERAL_IMPRESSIONS
    return _IMPRESSIONS[finding.kind]


def _fill(template: str, finding: Finding) -> str:
    """Put a finding's attributes into a sentence; capitalised names give capitalised words."""
    count = COUNTS[finding.count - 1]
    return template.format(
        side=finding.side,
        Side=finding.side.capitalize(),
        zone=finding.zone,
        size=finding.size,
        Size=finding.size.capitalize(),
        count=count,
        Count=count.capitalize(),
        where="both lungs" if finding.side == "both" else f"the {finding.side} lung",
    )
