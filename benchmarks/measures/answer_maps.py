"""Localisation of findings by the two maps of ``answer --explain``.

Run ``python -m benchmarks.measures.answer_maps --ckpt_path CHECKPOINT --root data/phantom`` on a
run of the answering stage. It takes the test questions that name one finding which the image shows
and that the network answers correctly, and prints the measures of ``footprint.py`` for

- the transport plan of the question's words that name the finding; the control is another word;
- occlusion: where hiding a square of the image lowers the log-likelihood of the answer; the control
  is the map of another question about the same image (in which plane it was taken).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.errors import UserError
from amif_lightning.inference.explain import question_plan
from amif_lightning.inference.load import restore
from amif_lightning.inference.occlusion import CELLS, CENTRES, occlusion
from amif_lightning.metrics.localisation import found_regions
from amif_lightning.models.words import words_of
from amif_lightning.tasks.answering.single_question import Asked, answers_known, ask, inputs_of
from amif_lightning.tasks.vqa import AMiFVQA
from benchmarks.measures.footprint import Sample, lines, maps, table
from data_modules.phantom.module import Phantom, PhantomStudies
from data_modules.phantom.read import read_studies

OTHER_QUESTION = "In which plane was this image taken?"


def asked_findings(data: Phantom, studies: PhantomStudies) -> list[tuple[VQAExample, str]]:
    """List the test questions that name exactly one kind of finding, which their image shows."""
    names = studies.region_words()
    found = []
    for row in data.splits.test:
        words = set(row.question.lower().strip("?").replace(",", "").split())
        kinds = [kind for kind, naming in names.items() if naming & words]
        shown = {region.kind for region in studies.regions("", row.image_key)}
        if len(kinds) == 1 and kinds[0] in shown:
            found.append((row, kinds[0]))
    return found


def samples_of(
    task: AMiFVQA, data: Phantom, studies: PhantomStudies, count: int, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Make the maps of ``count`` questions: transport plans and occlusion; print the omissions.

    Raises:
        UserError: If no question can be used.
    """
    rng = np.random.default_rng(seed)
    rows = asked_findings(data, studies)
    rows = [rows[place] for place in rng.permutation(len(rows))]
    tokenizer, names = Tokenizer.from_str(answers_known(task).tokenizer), studies.region_words()
    study_of = {
        image: study.study_id
        for study in read_studies(studies.root)
        for image in study.images.values()
    }
    plans: list[Sample] = []
    hidden: list[Sample] = []
    left_out: Counter[str] = Counter()
    bar = tqdm(total=count, desc="maps", unit="question")
    for row, kind in rows:
        if len(hidden) >= count:
            break
        asked = Asked(data.file_of(row), row.question)
        (answered,) = ask(task, [asked], 1)
        answer = answered.answers[0].answer
        if answer not in row.references:
            left_out["answered wrongly"] += 1
            continue
        inputs = inputs_of(task, [asked])
        fall = occlusion(task, inputs, answer)
        if not fall.any():
            left_out["with an answer that nothing hidden lowers"] += 1
            continue
        (region,) = (r for r in studies.regions("", row.image_key) if r.kind == kind)
        common = study_of[row.image_key], kind, region.mask
        plane = Asked(asked.image, OTHER_QUESTION)
        (view,) = ask(task, [plane], 1)
        control = occlusion(task, inputs_of(task, [plane]), view.answers[0].answer)
        theirs = control / control.sum() if control.any() else None
        bar.update()
        hidden.append(Sample(*common, fall / fall.sum(), theirs, inputs.images[0]))
        words = words_of(inputs.tokens.ids[0], inputs.tokens.mask[0], tokenizer)
        centres = task.vision.patch_centres
        for one in found_regions(question_plan(task, inputs), words, [region], names, centres, rng):
            theirs = one.other if one.other.any() else None
            plans.append(Sample(*common, one.mass, theirs, inputs.images[0]))
    bar.close()
    if not hidden:
        raise UserError(
            f"No test question of {data.root} names a shown finding and is answered correctly: "
            "give a trained run as --ckpt_path and its phantom data as --root."
        )
    print(f"{len(hidden)} questions; left out: {dict(left_out) or 'none'}.")
    return plans, hidden


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print both tables; a UserError if checkpoint or data cannot be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ckpt_path", type=Path, required=True, help="a run of AMiFVQA")
    parser.add_argument("--root", type=Path, required=True, help="folder of the phantom data set")
    parser.add_argument("--questions", type=int, default=200, help="questions with maps")
    parser.add_argument("--seed", type=int, default=0, help="draws questions and controls")
    parser.add_argument("--image", type=Path, help="PNG file for the first occlusion maps")
    given = parser.parse_args(arguments)
    task = restore(str(given.ckpt_path), "cpu")
    options: dict[str, Any] = {"image_size": task.image_size, "tokenizer": "words"}
    data = Phantom(str(given.root), num_workers=0, **options)
    studies = PhantomStudies(str(given.root), num_workers=0, teacher="none", **options)
    plans, hidden = samples_of(task, data, studies, given.questions, given.seed)
    centres = task.vision.patch_centres
    print(f"Transport plan, {len(centres)} x {len(centres)} patches, torch {torch.__version__}")
    print(table(lines(plans, centres, given.seed)))
    print(f"Occlusion, {CELLS} x {CELLS} cells")
    print(table(lines(hidden, CENTRES, given.seed, "answer about the finding", "another question")))
    if given.image is not None:
        title = "Where hiding a square of the image lowers the answer's likelihood, and the finding"
        maps(hidden, CENTRES, title).savefig(given.image)
        print(f"maps in {given.image}")


if __name__ == "__main__":
    main()
