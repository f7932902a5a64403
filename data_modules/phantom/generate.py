"""Write the phantom data set: images, studies, questions, footprints and a manifest.

Layout under the root::

    phantom.json                     manifest: generator, seed, sizes, coordinates
    studies.jsonl                    one study a line: images, report, findings, vector
    questions.jsonl                  one question a line
    compositions.jsonl               one question with a composed answer a line
    footprints.jsonl                 one finding on one image a line
    images/<split>/<study>_<view>.png

Findings, words and questions are drawn from generators of their own per study, so for a seed they
are the same on every machine; pixels agree to one grey level.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from amif_lightning.data.files.atomic import new_folder
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.errors import UserError
from data_modules.phantom import workers
from data_modules.phantom.compositions import ask, held_out
from data_modules.phantom.questions import Candidate, Question, choose
from data_modules.phantom.simulator.findings import COORDINATES
from data_modules.phantom.simulator.geometry import IMAGE_SIZE
from data_modules.phantom.study import (
    COMPOSITIONS,
    HELD_OUT,
    IMAGE_FOLDER,
    QUESTIONS,
    SPLITS,
    Job,
    line,
    plan,
    stream,
)

GENERATOR = 1  # raised whenever the same seed gives other data
STUDIES: Mapping[SplitName, int] = {"train": 1200, "validation": 200, "test": 300}

MANIFEST = "phantom.json"
STUDY_FILE, FOOTPRINT_FILE = "studies.jsonl", "footprints.jsonl"
QUESTION_FILE, COMPOSITION_FILE = "questions.jsonl", "compositions.jsonl"


def generate(
    root: Path | str,
    seed: int = 0,
    studies: Mapping[SplitName, int] | None = None,
    progress: bool = True,
    processes: int | None = None,
) -> None:
    """Write the data set, unless it is there already.

    It is written into a temporary folder beside the root and moved into place in one step, so a
    root is whole or not there. Where several processes generate it at once, the first one to end
    wins and the others use its files. A killed process leaves its temporary folder, which nobody
    reads and which may be deleted.

    Args:
        root: Folder to write to; created where it is missing, and replaced where it is empty.
        seed: Seed of everything, 0 or more.
        studies: Studies per split; default 1200 / 200 / 300.
        progress: Show a progress bar.
        processes: How many processes draw, with the same files for any number; by default all cores
            for large data sets and one for small ones.

    Raises:
        UserError: The folder holds a data set with other settings, or other files, or it cannot be
            written.
    """
    root = Path(root).resolve()  # what a link names is replaced, not the link
    sizes = {
        split: int((STUDIES if studies is None else studies).get(split, 0)) for split in SPLITS
    }
    settings: dict[str, Any] = {"generator": GENERATOR, "seed": int(seed), "studies": sizes}
    if _finished(root, settings):
        return
    with new_folder(root, "give another root") as folder:
        jobs = {split: plan(int(seed), split, sizes[split]) for split in SPLITS}
        counts, compositions = _write(folder, int(seed), jobs, progress, processes)
        manifest = {
            **settings,
            "image_size": IMAGE_SIZE,
            "questions": counts,
            "compositions": compositions,
            "coordinates": list(COORDINATES),
        }
        text = json.dumps(manifest, indent=1) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
        _move(folder, root, settings)


def _finished(root: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether the data set is complete; raise where the root holds anything else."""
    if root.exists() and not root.is_dir():
        raise UserError(
            f"{root} is a file, so the phantom data set cannot be written there; give a folder as "
            "root."
        )
    path = root / MANIFEST
    if not path.is_file():
        if root.is_dir() and any(root.iterdir()):
            raise UserError(
                f"{root} is not empty and holds no {MANIFEST}, so the phantom data set is not "
                "written there; give an empty folder as root."
            )
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


def _move(folder: Path, root: Path, settings: Mapping[str, Any]) -> None:
    """Move a finished folder into place, unless another process was faster."""
    try:
        os.replace(folder, root)  # takes the place of an empty folder, of no other
    except OSError as error:
        if not _finished(root, settings):
            raise UserError(
                f"The finished phantom data set could not be moved to {root} ({error.strerror}); "
                "give a folder that does not exist yet as root."
            ) from error


def _write(
    root: Path,
    seed: int,
    jobs: Mapping[SplitName, list[Job]],
    progress: bool,
    processes: int | None,
) -> tuple[dict[str, int], dict[str, int]]:
    """Write all splits and return the numbers of questions of each, composed answers apart."""
    counts: dict[str, int] = {}
    compositions: dict[str, int] = {}
    unseen = held_out(stream(seed, "train", HELD_OUT))
    planned = [job for split in SPLITS for job in jobs[split]]
    for split in SPLITS:
        (root / IMAGE_FOLDER / split).mkdir(parents=True)
    if processes is None:
        processes = workers.processes_for(len(planned))
    with (
        # Closed before the folder is removed after an interruption: workers still write into it.
        closing(workers.written(root, planned, processes)) as done,
        (root / STUDY_FILE).open("w", encoding="utf-8", newline="\n") as study_file,
        (root / QUESTION_FILE).open("w", encoding="utf-8", newline="\n") as question_file,
        (root / COMPOSITION_FILE).open("w", encoding="utf-8", newline="\n") as composition_file,
        (root / FOOTPRINT_FILE).open("w", encoding="utf-8", newline="\n") as footprint_file,
        tqdm(total=len(planned), desc="phantom studies", unit="study", disable=not progress) as bar,
    ):
        for split in SPLITS:
            found: list[Candidate] = []
            composed: list[Candidate] = []
            for written in islice(done, len(jobs[split])):
                study_file.write(written.study)
                footprint_file.write(written.footprints)
                found.extend(written.candidates)
                composed += [written.composition] if written.composition else []
                bar.update()
            questions = choose(stream(seed, split, QUESTIONS), found, len(jobs[split]))
            counts[split] = len(questions)
            for question in questions:
                question_file.write(line(_question(jobs[split], question)))
            rng = stream(seed, split, COMPOSITIONS)
            questions = ask(rng, composed, unseen, train=split == "train")
            compositions[split] = len(questions)
            for question in questions:
                composition_file.write(line(_question(jobs[split], question)))
    return counts, compositions


def _question(jobs: list[Job], question: Question) -> dict[str, Any]:
    """Describe a question for questions.jsonl or compositions.jsonl."""
    asked = question.candidate
    job = jobs[asked.study]
    return {
        "split": job.split,
        "study_id": job.study_id,
        "view": asked.view,
        "image": job.image(asked.view),
        "question": question.text,
        "answer": asked.answer,
        "question_type": asked.question_type,
        "topic": asked.topic,
    }
