"""Write the phantom data set.

Layout under the root::

    phantom.json                        manifest: generator, seed, sizes, coordinates
    studies.jsonl                       a study per line: images, report, findings, vector
    questions.jsonl, compositions.jsonl a question per line; the latter with composed answers
    footprints.jsonl                    a finding on an image per line
    images/<split>/<study>_<view>.png
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from amif_lightning.arguments import check_minimum
from amif_lightning.data.files.atomic import new_folder
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.errors import UserError
from data_modules.phantom import study
from data_modules.phantom.compositions import ask, held_out
from data_modules.phantom.questions import Candidate, Question, choose
from data_modules.phantom.simulator.findings import COORDINATES
from data_modules.phantom.simulator.geometry import IMAGE_SIZE

GENERATOR = 1  # increased when the same seed gives other data
SMALLEST_POOL = 200  # studies; a smaller set takes less time than the start of a pool
_CHUNK = 8  # studies per task of a process
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
    """Write the data set unless it exists.

    Files are written to a temporary folder next to the root and moved in one step, so a root is
    never incomplete. If several processes generate at once, the first to finish provides the files.
    A killed process leaves its temporary folder, which may be deleted. For a given seed, findings,
    words and questions are equal on every machine; pixels agree to one grey level.

    Args:
        root: Folder to write to; created if missing, replaced if empty.
        seed: Seed of everything, 0 or more.
        studies: Studies per split; by default 1200 / 200 / 300.
        progress: Show a progress bar.
        processes: Does not change the files; by default one for few studies, else all cores.

    Raises:
        UserError: The folder contains other settings or files, or cannot be written.
    """
    root = Path(root).resolve()  # replace the target of a link, not the link
    studies = STUDIES if studies is None else studies
    sizes = {split: int(studies.get(split, 0)) for split in study.SPLITS}
    settings: dict[str, Any] = {"generator": GENERATOR, "seed": int(seed), "studies": sizes}
    if _finished(root, settings):
        return
    with new_folder(root, "give another root") as folder:
        jobs = {split: study.plan(int(seed), split, sizes[split]) for split in study.SPLITS}
        manifest = settings | {"image_size": IMAGE_SIZE}
        manifest |= _write(folder, int(seed), jobs, progress, processes)
        text = json.dumps(manifest | {"coordinates": list(COORDINATES)}, indent=1) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
        try:
            os.replace(folder, root)  # replaces an empty folder, no other
        except OSError as error:
            if not _finished(root, settings):  # else another process was faster
                raise UserError(
                    f"The finished phantom data set could not be moved to {root} "
                    f"({error.strerror}); give a folder that does not exist yet as root."
                ) from error


def checked_sizes(
    phantom_seed: int, train_studies: int, validation_studies: int, test_studies: int
) -> dict[SplitName, int]:
    """Check the data modules' arguments and return the studies per split."""
    check_minimum(
        {
            "phantom_seed": (phantom_seed, 0),
            "train_studies": (train_studies, 1),
            "validation_studies": (validation_studies, 0),
            "test_studies": (test_studies, 0),
        }
    )
    return {"train": train_studies, "validation": validation_studies, "test": test_studies}


def _finished(root: Path, settings: Mapping[str, Any]) -> bool:
    """Return whether the data set is complete; raise a UserError for any other content."""
    path = root / MANIFEST
    if not path.is_file():
        if root.is_file() or (root.is_dir() and any(root.iterdir())):
            raise UserError(
                f"{root} is not empty and has no {MANIFEST}, so the phantom data set is not "
                "written there; give an empty folder as root."
            )
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same = all(found[name] == value for name, value in settings.items())
    except (ValueError, KeyError, TypeError, RecursionError):
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


def _write(
    root: Path,
    seed: int,
    jobs: Mapping[SplitName, list[study.Job]],
    progress: bool,
    processes: int | None,
) -> dict[str, dict[SplitName, int]]:
    """Write all splits; return the questions per split, those with composed answers separately."""
    counts: dict[str, dict[SplitName, int]] = {"questions": {}, "compositions": {}}
    unseen = held_out(study.stream(seed, "train", study.HELD_OUT))
    planned = [job for split in study.SPLITS for job in jobs[split]]
    for split in study.SPLITS:
        (root / study.IMAGE_FOLDER / split).mkdir(parents=True)
    with (
        # Closed before an interruption removes the folder, in which workers still write.
        closing(written(root, planned, processes)) as done,
        _opened(root / STUDY_FILE) as study_file,
        _opened(root / QUESTION_FILE) as question_file,
        _opened(root / COMPOSITION_FILE) as composition_file,
        _opened(root / FOOTPRINT_FILE) as footprint_file,
        tqdm(total=len(planned), desc="phantom studies", unit="study", disable=not progress) as bar,
    ):
        for split in study.SPLITS:
            found: list[Candidate] = []
            composed: list[Candidate] = []
            for one in islice(done, len(jobs[split])):
                study_file.write(one.study)
                footprint_file.write(one.footprints)
                found += one.candidates
                composed += [one.composition] if one.composition else []
                bar.update()
            plain = choose(study.stream(seed, split, study.QUESTIONS), found, len(jobs[split]))
            rng = study.stream(seed, split, study.COMPOSITIONS)
            compositions = ask(rng, composed, unseen, train=split == "train")
            question_file.writelines(_line(jobs[split], question) for question in plain)
            composition_file.writelines(_line(jobs[split], question) for question in compositions)
            counts["questions"][split] = len(plain)
            counts["compositions"][split] = len(compositions)
    return counts


def written(
    folder: Path, jobs: Sequence[study.Job], processes: int | None = None
) -> Generator[study.Written, None, None]:
    """Draw and save studies below ``folder``; yield the results in the order of the jobs."""
    if processes is None:
        linux = sys.platform == "linux"
        cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
        processes = cores if len(jobs) >= SMALLEST_POOL else 1
    if processes == 1:
        yield from (study.write_study(folder, job) for job in jobs)
        return
    # Forked workers import nothing (torch takes seconds) and only use numpy and Pillow.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start)
    try:
        yield from pool.map(partial(study.write_study, folder), jobs, chunksize=_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Make a worker end with its parent and ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    # A killed parent does not close the queue, and a worker would wait for its next job for ever.
    wait([sentinel])
    os._exit(1)


def _opened(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


def _line(jobs: list[study.Job], question: Question) -> str:
    asked = question.candidate
    job = jobs[asked.study]
    return study.line(
        {
            "split": job.split,
            "study_id": job.study_id,
            "view": asked.view,
            "image": job.image(asked.view),
            "question": question.text,
            "answer": asked.answer,
            "question_type": asked.question_type,
            "topic": asked.topic,
        }
    )
