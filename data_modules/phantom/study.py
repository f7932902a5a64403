"""Draw one study of the phantom data set: its images and its lines of the text files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from data_modules.phantom.simulator.geometry import IMAGE_SIZE, VIEWS, View
from data_modules.phantom.simulator.lesions import Placed, place
from data_modules.phantom.simulator.render import Exposure, Scene, develop

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
IMAGE_FOLDER = "images"

SECOND_STUDY = 0.2  # share of patients with a second study
# Purposes of the random generators: with seed and split they select independent streams.
_SPLIT, _PATIENT, _STUDY, _NOISE, _WORDS, QUESTIONS, COMPOSITIONS, HELD_OUT = range(8)


@dataclass(frozen=True)
class Job:
    """All inputs for drawing one study, so any process may draw it."""

    seed: int
    split: SplitName
    index: int  # of the study within the split
    patient: int  # index of the patient within the split
    findings: tuple[Finding, ...]

    @property
    def study_id(self) -> str:
        """Return the id of the study in the data set."""
        return f"{self.split}-s{self.index:05d}"

    @property
    def patient_id(self) -> str:
        """Return the id of the patient in the data set."""
        return f"{self.split}-p{self.patient:05d}"

    def image(self, view: View) -> str:
        """Return the path of an image relative to the root."""
        return f"{IMAGE_FOLDER}/{self.split}/{self.study_id}_{view}.png"


@dataclass(frozen=True)
class Written:
    """A study whose images are on disk."""

    study: str  # line of studies.jsonl
    footprints: str  # lines of footprints.jsonl
    candidates: list[Candidate]
    composition: Candidate | None


def stream(seed: int, split: SplitName, purpose: int, index: int = 0) -> np.random.Generator:
    """Create the random generator of one purpose."""
    return np.random.default_rng([seed, SPLITS.index(split), purpose, index])


def plan(seed: int, split: SplitName, count: int) -> list[Job]:
    """Plan a split: findings by systematic sampling, some patients with two studies."""
    rng = stream(seed, split, _SPLIT)
    patient, again = -1, False
    jobs: list[Job] = []
    for index, profile in enumerate(draw_profiles(rng, count) if count else []):
        if not again:
            patient += 1
        again = not again and float(rng.random()) < SECOND_STUDY
        jobs.append(Job(seed, split, index, patient, profile.findings))
    return jobs


def write_study(folder: Path, job: Job) -> Written:
    """Draw one study and save its images below ``folder``, which has a folder for the split."""
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
    """Draw the two images of a study and its findings as placed in them."""
    anatomy = draw_anatomy(stream(job.seed, job.split, _PATIENT, job.patient))
    rng = stream(job.seed, job.split, _STUDY, job.index)
    exposures = {
        view: Exposure(float(rng.uniform(0.85, 1.18)), float(rng.uniform(2.0, 3.5)))
        for view in VIEWS
    }
    scene = Scene(anatomy, exposures)
    placed = place(rng, scene, job.findings)
    lesions = [lesion for item in placed for lesion in item.lesions]
    # A separate stream, so that noise does not shift the draws of the findings.
    noise = stream(job.seed, job.split, _NOISE, job.index)
    images = {view: develop(scene.clean(view, lesions), exposures[view], noise) for view in VIEWS}
    return images, placed


def line(content: Mapping[str, Any]) -> str:
    """Format one line of a .jsonl file."""
    return json.dumps(content, separators=(",", ":")) + "\n"


def encode_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask (H, W) as start, length, start, length ... over its flattened pixels."""
    padded = np.concatenate([[0], mask.reshape(-1).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(padded)).reshape(-1, 2)
    runs: list[int] = np.stack([edges[:, 0], edges[:, 1] - edges[:, 0]], axis=1).ravel().tolist()
    return runs


def decode_runs(runs: Sequence[int]) -> NDArray[np.bool_]:
    """Undo :func:`encode_runs` for a mask of the image size (112, 112)."""
    mask = np.zeros(IMAGE_SIZE * IMAGE_SIZE, dtype=np.bool_)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = True
    return mask.reshape(IMAGE_SIZE, IMAGE_SIZE)


def _study(job: Job, placed: Iterable[Placed]) -> dict[str, Any]:
    rng = stream(job.seed, job.split, _WORDS, job.index)
    findings, impression = write_report(rng, job.findings)
    return {
        "study_id": job.study_id,
        "patient_id": job.patient_id,
        "split": job.split,
        "images": [{"view": view, "path": job.image(view)} for view in VIEWS],
        "report": {"findings": findings, "impression": impression},
        "findings": [asdict(item.finding) | {"shown_on": list(item.shown)} for item in placed],
        "vector": list(finding_vector(job.findings)),
    }


def _footprints(job: Job, placed: Iterable[Placed]) -> Iterable[dict[str, Any]]:
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
