"""Draw one study of the phantom data set: its images and what the files say of it.

Everything here depends on a study's own job alone, so studies may be drawn in any process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from amif_lightning.data.schema.questions import SplitName
from data_modules.phantom.compositions import composition
from data_modules.phantom.questions import Candidate, candidates
from data_modules.phantom.reports import write_report
from data_modules.phantom.simulator.anatomy import draw_anatomy
from data_modules.phantom.simulator.findings import Finding, draw_profiles, finding_vector
from data_modules.phantom.simulator.geometry import VIEWS, View
from data_modules.phantom.simulator.lesions import Placed, place
from data_modules.phantom.simulator.masks import encode_runs
from data_modules.phantom.simulator.render import Exposure, Scene, develop

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
IMAGE_FOLDER = "images"

SECOND_STUDY = 0.2  # share of the patients who come back for a second study
# Purposes of the random generators; with seed and split they make independent streams.
_SPLIT, _PATIENT, _STUDY, _NOISE, _WORDS, QUESTIONS, COMPOSITIONS, HELD_OUT = range(8)


@dataclass(frozen=True)
class Job:
    """One study before it is drawn.

    Attributes:
        seed: Seed of the data set.
        split: The split.
        index: Number of the study within the split.
        patient: Number of the patient within the split.
        findings: What the patient has.
    """

    seed: int
    split: SplitName
    index: int
    patient: int
    findings: tuple[Finding, ...]

    @property
    def study_id(self) -> str:
        """Identity of the study in the data set."""
        return f"{self.split}-s{self.index:05d}"

    @property
    def patient_id(self) -> str:
        """Identity of the patient in the data set."""
        return f"{self.split}-p{self.patient:05d}"

    def image(self, view: View) -> str:
        """Path of an image below the root."""
        return f"{IMAGE_FOLDER}/{self.split}/{self.study_id}_{view}.png"


@dataclass(frozen=True)
class Written:
    """A study whose images are on disk.

    Attributes:
        study: Its line of studies.jsonl.
        footprints: Its lines of footprints.jsonl.
        candidates: The questions that its images decide.
        composition: What its frontal image decides as a whole, if anything.
    """

    study: str
    footprints: str
    candidates: list[Candidate]
    composition: Candidate | None


def stream(seed: int, split: SplitName, purpose: int, index: int = 0) -> np.random.Generator:
    """Return the random generator of one purpose."""
    return np.random.default_rng([seed, SPLITS.index(split), purpose, index])


def plan(seed: int, split: SplitName, count: int) -> list[Job]:
    """Plan a split: findings by systematic sampling, some patients with two studies."""
    rng = stream(seed, split, _SPLIT)
    profiles = draw_profiles(rng, count) if count else []
    patient, again = -1, False
    jobs: list[Job] = []
    for index, profile in enumerate(profiles):
        if again:
            again = False
        else:
            patient += 1
            again = float(rng.random()) < SECOND_STUDY
        jobs.append(Job(seed, split, index, patient, profile.findings))
    return jobs


def write_study(folder: Path, job: Job) -> Written:
    """Draw one study and save its images.

    Args:
        folder: Where the data set is written; the folder of the split's images exists.
        job: The study.

    Returns:
        What the text files say of it.
    """
    images, placed = draw(job)
    for view, pixels in images.items():
        Image.fromarray(pixels).save(folder / job.image(view))
    return Written(
        line(_study(job, placed)),
        "".join(line(row) for row in _footprints(job, placed)),
        candidates(job.index, placed),
        composition(job.index, placed),
    )


def draw(job: Job) -> tuple[dict[View, NDArray[np.uint8]], tuple[Placed, ...]]:
    """Draw one study: its two images and what they show."""
    anatomy = draw_anatomy(stream(job.seed, job.split, _PATIENT, job.patient))
    rng = stream(job.seed, job.split, _STUDY, job.index)
    exposures = {
        view: Exposure(float(rng.uniform(0.85, 1.18)), float(rng.uniform(2.0, 3.5)))
        for view in VIEWS
    }
    scene = Scene(anatomy, exposures)
    placed = place(rng, scene, job.findings)
    lesions = [lesion for item in placed for lesion in item.lesions]
    # A stream of its own, so that the noise never shifts what is drawn for the findings.
    noise = stream(job.seed, job.split, _NOISE, job.index)
    images = {view: develop(scene.clean(view, lesions), exposures[view], noise) for view in VIEWS}
    return images, placed


def line(content: Mapping[str, Any]) -> str:
    """One line of a .jsonl file."""
    return json.dumps(content, separators=(",", ":")) + "\n"


def _study(job: Job, placed: Iterable[Placed]) -> dict[str, Any]:
    """Describe a study for studies.jsonl."""
    report = write_report(stream(job.seed, job.split, _WORDS, job.index), job.findings)
    return {
        "study_id": job.study_id,
        "patient_id": job.patient_id,
        "split": job.split,
        "images": [{"view": view, "path": job.image(view)} for view in VIEWS],
        "report": {"findings": report.findings, "impression": report.impression},
        "findings": [
            {
                "kind": item.finding.kind,
                "side": item.finding.side,
                "zone": item.finding.zone,
                "size": item.finding.size,
                "count": item.finding.count,
                "shown_on": list(item.shown),
            }
            for item in placed
        ],
        "vector": list(finding_vector(job.findings)),
    }


def _footprints(job: Job, placed: Iterable[Placed]) -> Iterable[dict[str, Any]]:
    """Describe the footprints of a study's findings for footprints.jsonl."""
    for index, item in enumerate(placed):
        for view in VIEWS:
            shadow = item.shadows[view]
            yield {
                "study_id": job.study_id,
                "view": view,
                "finding": index,
                "kind": item.finding.kind,
                "contrast": round(shadow.contrast, 2),
                "runs": encode_runs(shadow.mask),
            }
