"""Write the phantom data set: images, studies, questions, footprints and a manifest.

Layout under the root::

    phantom.json                     manifest, written last: generator, seed, sizes, coordinates
    studies.jsonl                    one study a line: images, report, findings, vector
    questions.jsonl                  one question a line
    footprints.jsonl                 one finding on one image a line
    images/<split>/<study>_<view>.png

Findings, words and questions are drawn from generators of their own per study, so for a seed they
are the same on every machine; pixels agree to one grey level.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped]  # ships no type information

from amif_lightning.errors import UserError
from data_modules.phantom.anatomy import draw_anatomy
from data_modules.phantom.findings import COORDINATES, Finding, draw_profiles, finding_vector
from data_modules.phantom.geometry import IMAGE_SIZE, VIEWS, View
from data_modules.phantom.lesions import Placed, place
from data_modules.phantom.questions import Candidate, candidates, choose
from data_modules.phantom.render import Exposure, Scene, develop
from data_modules.phantom.reports import write_report
from data_modules.rows import SplitName

GENERATOR = 1  # raised whenever the same seed gives other data
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
STUDIES: Mapping[SplitName, int] = {"train": 1200, "validation": 200, "test": 300}

MANIFEST = "phantom.json"
UNFINISHED = "phantom.json.unfinished"
STUDY_FILE, QUESTION_FILE = "studies.jsonl", "questions.jsonl"
FOOTPRINT_FILE, IMAGE_FOLDER = "footprints.jsonl", "images"

SECOND_STUDY = 0.2  # share of the patients who come back for a second study
# Purposes of the random generators; with seed and split they make independent streams.
_SPLIT, _PATIENT, _STUDY, _NOISE, _WORDS, _QUESTIONS = range(6)


@dataclass(frozen=True)
class _Job:
    """One study before it is drawn."""

    seed: int
    split: SplitName
    index: int
    patient: int
    findings: tuple[Finding, ...]

    @property
    def study_id(self) -> str:
        return f"{self.split}-s{self.index:05d}"

    @property
    def patient_id(self) -> str:
        return f"{self.split}-p{self.patient:05d}"

    def image(self, view: View) -> str:
        return f"{IMAGE_FOLDER}/{self.split}/{self.study_id}_{view}.png"


def generate(
    root: Path | str,
    seed: int = 0,
    studies: Mapping[SplitName, int] | None = None,
    progress: bool = True,
) -> None:
    """Write the data set, unless it is there already.

    A finished folder with the same settings is left as it is; an interrupted one is written anew.

    Args:
        root: Folder to write to; created where it is missing.
        seed: Seed of everything, 0 or more.
        studies: Studies per split; default 1200 / 200 / 300.
        progress: Show a progress bar.

    Raises:
        UserError: The folder holds a data set with other settings, or other files.
    """
    root = Path(root)
    sizes = {
        split: int((STUDIES if studies is None else studies).get(split, 0)) for split in SPLITS
    }
    settings: dict[str, Any] = {"generator": GENERATOR, "seed": int(seed), "studies": sizes}
    if _finished(root, settings):
        return
    _clear(root)
    root.mkdir(parents=True, exist_ok=True)
    _dump(root / UNFINISHED, settings)
    counts = _write(root, int(seed), sizes, progress)
    manifest = {
        **settings,
        "image_size": IMAGE_SIZE,
        "questions": counts,
        "coordinates": list(COORDINATES),
    }
    # The manifest appears in one step and last: where it stands, everything else is complete.
    _dump(root / UNFINISHED, manifest)
    (root / UNFINISHED).replace(root / MANIFEST)


def _finished(root: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether the data set is complete; raise where it was made with other settings."""
    path = root / MANIFEST
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = all(found[name] == value for name, value in settings.items())
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is not a manifest of the phantom data set; delete the folder {root} or give "
            "another root."
        ) from None
    if not same:
        described = ", ".join(f"{name} {found[name]}" for name in settings)
        raise UserError(
            f"{path} belongs to a phantom data set made with other settings ({described}); give "
            "the same settings, another root, or delete the folder."
        )
    return True


def _clear(root: Path) -> None:
    """Remove what an interrupted run left; refuse a folder that holds anything else."""
    if not root.is_dir() or not any(root.iterdir()):
        return
    if not (root / UNFINISHED).is_file():
        raise UserError(
            f"{root} is not empty and holds no {MANIFEST}, so the phantom data set is not written "
            "there; give an empty folder as root."
        )
    for name in (STUDY_FILE, QUESTION_FILE, FOOTPRINT_FILE):
        (root / name).unlink(missing_ok=True)
    if (root / IMAGE_FOLDER).is_dir():
        shutil.rmtree(root / IMAGE_FOLDER)


def _dump(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def _stream(seed: int, split: SplitName, purpose: int, index: int = 0) -> np.random.Generator:
    """Return the random generator of one purpose."""
    return np.random.default_rng([seed, SPLITS.index(split), purpose, index])


def _jobs(seed: int, split: SplitName, count: int) -> list[_Job]:
    """Plan a split: findings by systematic sampling, some patients with two studies."""
    rng = _stream(seed, split, _SPLIT)
    profiles = draw_profiles(rng, count) if count else []
    patient, again = -1, False
    jobs: list[_Job] = []
    for index, profile in enumerate(profiles):
        if again:
            again = False
        else:
            patient += 1
            again = float(rng.random()) < SECOND_STUDY
        jobs.append(_Job(seed, split, index, patient, profile.findings))
    return jobs


def _draw(job: _Job) -> tuple[dict[View, NDArray[np.uint8]], tuple[Placed, ...]]:
    """Draw one study: its two images and what they show."""
    anatomy = draw_anatomy(_stream(job.seed, job.split, _PATIENT, job.patient))
    rng = _stream(job.seed, job.split, _STUDY, job.index)
    exposures = {
        view: Exposure(float(rng.uniform(0.85, 1.18)), float(rng.uniform(2.0, 3.5)))
        for view in VIEWS
    }
    scene = Scene(anatomy, exposures)
    placed = place(rng, scene, job.findings)
    lesions = [lesion for item in placed for lesion in item.lesions]
    # A stream of its own, so that the noise never shifts what is drawn for the findings.
    noise = _stream(job.seed, job.split, _NOISE, job.index)
    images = {view: develop(scene.clean(view, lesions), exposures[view], noise) for view in VIEWS}
    return images, placed


def _write(root: Path, seed: int, sizes: Mapping[SplitName, int], progress: bool) -> dict[str, int]:
    """Write all splits and return the number of questions of each."""
    counts: dict[str, int] = {}
    total = sum(sizes.values())
    with (
        (root / STUDY_FILE).open("w", encoding="utf-8", newline="\n") as study_file,
        (root / QUESTION_FILE).open("w", encoding="utf-8", newline="\n") as question_file,
        (root / FOOTPRINT_FILE).open("w", encoding="utf-8", newline="\n") as footprint_file,
        tqdm(total=total, desc="phantom studies", unit="study", disable=not progress) as bar,
    ):
        for split in SPLITS:
            jobs = _jobs(seed, split, sizes[split])
            (root / IMAGE_FOLDER / split).mkdir(parents=True, exist_ok=True)
            found: list[Candidate] = []
            for job in jobs:
                images, placed = _draw(job)
                for view, pixels in images.items():
                    Image.fromarray(pixels).save(root / job.image(view))
                study_file.write(_line(_study(job, placed)))
                for row in _footprints(job, placed):
                    footprint_file.write(_line(row))
                found.extend(candidates(job.index, placed))
                bar.update()
            questions = choose(_stream(seed, split, _QUESTIONS), found, len(jobs))
            counts[split] = len(questions)
            for question in questions:
                asked = question.candidate
                job = jobs[asked.study]
                question_file.write(
                    _line(
                        {
                            "split": split,
                            "study_id": job.study_id,
                            "view": asked.view,
                            "image": job.image(asked.view),
                            "question": question.text,
                            "answer": asked.answer,
                            "question_type": asked.question_type,
                            "topic": asked.topic,
                        }
                    )
                )
    return counts


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":")) + "\n"


def _study(job: _Job, placed: Iterable[Placed]) -> dict[str, Any]:
    """Describe a study for studies.jsonl."""
    report = write_report(_stream(job.seed, job.split, _WORDS, job.index), job.findings)
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


def _footprints(job: _Job, placed: Iterable[Placed]) -> Iterable[dict[str, Any]]:
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


def encode_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask (H, W) as start, length, start, length ... over its flattened pixels."""
    padded = np.concatenate([[0], mask.reshape(-1).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(padded))
    starts, stops = edges[::2], edges[1::2]
    runs: list[int] = np.stack([starts, stops - starts], axis=1).reshape(-1).tolist()
    return runs


def decode_runs(runs: Iterable[int]) -> NDArray[np.bool_]:
    """Undo :func:`encode_runs` for a mask of the images' size (112, 112)."""
    mask = np.zeros(IMAGE_SIZE * IMAGE_SIZE, dtype=np.bool_)
    values = list(runs)
    for start, length in zip(values[::2], values[1::2], strict=True):
        mask[start : start + length] = True
    return mask.reshape(IMAGE_SIZE, IMAGE_SIZE)
