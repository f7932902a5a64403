"""Reports of the findings, in varied words and two sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_modules.phantom.simulator.findings import COUNTS, KINDS, Finding

# Studies with equal findings get different words. Hard labels treat them as negatives; the soft
# labels of the alignment losses do not.
_SENTENCES: dict[str, tuple[str, ...]] = {
    "nodule": (
        "There is a nodule in the {zone} zone of the {side} lung.",
        "A round nodule projects over the {side} {zone} zone.",
        "A solitary pulmonary nodule is seen in the {side} lung, {zone} third.",
        "{side} {zone} zone nodule.",
        "A small round opacity, consistent with a nodule, lies in the {zone} {side} lung.",
    ),
    "mass": (
        "There is a {size} mass in the {zone} zone of the {side} lung.",
        "A {size} rounded mass projects over the {side} {zone} zone.",
        "{side} lung mass of {size} size in the {zone} third.",
        "A {size}, well defined mass occupies the {zone} {side} lung.",
    ),
    "effusion": (
        "There is a {size} {side} pleural effusion.",
        "Fluid at the base of the {side} lung, in keeping with a {size} effusion.",
        "{side} sided pleural effusion, {size}.",
        "The {side} costophrenic angle is blunted by a {size} pleural effusion.",
    ),
    "consolidation": (
        "There is {size} patchy consolidation in the {zone} zone of the {side} lung.",
        "{size} area of consolidation in the {side} {zone} zone.",
        "Patchy air space opacity of {size} extent in the {zone} {side} lung, consolidation.",
        "The {side} lung shows a {size} consolidation in its {zone} third.",
    ),
    "pneumothorax": (
        "There is a {size} {side} pneumothorax.",
        "{size} {side} sided pneumothorax with partial collapse of the lung.",
        "Air in the {side} pleural space, a {size} pneumothorax.",
        "The {side} lung is separated from the chest wall by a {size} pneumothorax.",
    ),
    "cardiomegaly": (
        "The heart is enlarged.",
        "There is cardiomegaly.",
        "The cardiac silhouette is enlarged.",
        "Heart size is increased beyond normal.",
    ),
    "effusions": (
        "There are {size} bilateral pleural effusions.",
        "{size} effusions at both lung bases.",
        "Both costophrenic angles are blunted by {size} pleural effusions.",
        "Pleural effusion on both sides, {size}.",
    ),
    "nodules": (
        "There are {count} nodules in {where}.",
        "{count} round nodules project over {where}.",
        "{count} pulmonary nodules are seen in {where}.",
        "Multiple nodules, {count} in number, lie in {where}.",
    ),
}
_ABSENT: dict[str, tuple[str, ...]] = {
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
_IMPRESSIONS: dict[str, tuple[str, ...]] = {
    "nodule": ("{side} {zone} zone nodule.", "Nodule in the {zone} {side} lung."),
    "mass": ("{size} {side} {zone} zone mass.", "{size} mass in the {zone} {side} lung."),
    "effusion": ("{size} {side} effusion.", "{side} pleural effusion, {size}."),
    "consolidation": (
        "{size} {side} {zone} zone consolidation.",
        "Consolidation of the {zone} {side} lung, {size}.",
    ),
    "pneumothorax": ("{size} {side} pneumothorax.", "{side} pneumothorax, {size}."),
    "cardiomegaly": ("Cardiomegaly.", "Enlarged heart."),
    "effusions": ("{size} bilateral effusions.", "Bilateral pleural effusions, {size}."),
    "nodules": ("{count} nodules in {where}.", "{count} pulmonary nodules, {where}."),
}


def write_report(rng: np.random.Generator, findings: Sequence[Finding]) -> tuple[str, str]:
    """Return the sections "findings" and "impression"; ``rng`` draws only words and order."""
    seen = [_write(rng, _SENTENCES, finding) for finding in findings]
    seen = [seen[int(i)] for i in rng.permutation(len(seen))]
    present = {finding.kind for finding in findings}
    absent = [kind for kind in KINDS if kind not in present]
    kept = rng.permutation(len(absent))[: int(rng.integers(2, 4 if findings else 5))]
    negatives = [_choose(rng, _ABSENT[absent[int(i)]]) for i in kept]
    if not findings:
        seen = [_choose(rng, _CLEAR)]
    body = [*seen, *negatives] if rng.random() < 0.75 else [*negatives, *seen]
    opening = _choose(rng, _OPENINGS)
    impressions = [_write(rng, _IMPRESSIONS, finding) for finding in findings]
    impression = " ".join(impressions) or _choose(rng, _NORMAL_IMPRESSIONS)
    return " ".join([opening, *body] if opening else body), impression


def _choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _write(
    rng: np.random.Generator, templates: Mapping[str, Sequence[str]], finding: Finding
) -> str:
    both = finding.side == "both"
    several = finding.count > 1 or (finding.kind == "effusion" and both)
    text = _choose(rng, templates[finding.kind + ("s" if several else "")]).format(
        side=finding.side,
        zone=finding.zone,
        size=finding.size,
        count=COUNTS[finding.count - 1],
        where="both lungs" if both else f"the {finding.side} lung",
    )
    return text[0].upper() + text[1:]
