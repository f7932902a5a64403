"""Questions with their images and the answers of every configuration of a data set."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amif_lightning.reports.analysis.groups import AnswerGroup
from amif_lightning.reports.page.images import NoImage, data_root, data_uri
from amif_lightning.reports.records.answering import PredictionLine, reading_text

EACH = 4
SEED = 0
LEFT_OUT = "Images were left out of this page (--no-images)."


class Answer(NamedTuple):
    """The answer of one seed of a configuration."""

    name: str
    seed: int
    line: PredictionLine

    @property
    def probability(self) -> str:
        """The answer's probability; empty if the method gives none."""
        if self.line.log_likelihood is None:
            return ""
        percent = 100 * math.exp(min(self.line.log_likelihood, 0.0))
        return "below 1 %" if percent < 1 else f"{percent:.0f} %"

    @property
    def read(self) -> str:
        """The question's attention on the vocabulary; empty without a vocabulary."""
        known = self.line.knowledge
        return reading_text(known.read, known.gate) if known else ""


class Shown(NamedTuple):
    """One question; ``image`` is a ``data:`` address, or None without an image."""

    line: PredictionLine
    image: str | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Samples:
    """Right, wrong and surely wrong answers of the lead configuration on one data set.

    ``rule`` is empty if no question could be drawn; remarks name everything that is missing.
    """

    rule: str = ""
    lead: str = ""
    right: Sequence[Shown] = ()
    wrong: Sequence[Shown] = ()
    sure: Sequence[Shown] = ()  # wrong with the highest probabilities
    remarks: Sequence[str] = ()


def samples(groups: Sequence[AnswerGroup], *, images: bool) -> Samples:
    """Draw questions with a fixed seed, the same for all configurations of a section."""
    first = [(group, next((run for run in group.runs if run.lines), None)) for group in groups]
    found = [(group, run) for group, run in first if run is not None]
    remarks = [
        f"{group.name}: the prediction file is missing, so its answers are not shown."
        for group, run in first
        if run is None
    ]
    answered = [{line.question_id: line for line in run.lines or ()} for _, run in found]
    common = sorted(set.intersection(*map(set, answered))) if found else []
    if found and not common:
        remarks.append("The configurations answered no question in common, so none is shown.")
    if not common:
        return Samples(remarks=remarks)
    lead = max(range(len(found)), key=lambda place: found[place][0].mean())  # the first of equals
    group, run = found[lead]
    root = data_root(run.record.config) if images else None
    reasons: Counter[str] = Counter()

    def shown(line: PredictionLine) -> Shown:
        answers = tuple(
            Answer(theirs.name, run.record.seed, lines[line.question_id])
            for (theirs, run), lines in zip(found, answered, strict=True)
        )
        image = None
        try:
            # Older lines lack the path; in most data sets the identity is the path.
            image = data_uri(root, line.image_file or line.image) if root else None
        except NoImage as why:
            reasons[str(why)] += 1
        return Shown(line, image, answers)

    right, wrong, sure = (
        [shown(line) for line in drawn]
        for drawn in _draw([answered[lead][question] for question in common])
    )
    if not images:
        remarks.append(LEFT_OUT)
    elif root is None:
        remarks.append("The records name no single data folder, so no image is shown.")
    drawn = len(right) + len(wrong) + len(sure)
    remarks += [
        f"{number} of {drawn} images are not shown: {why} below {root}, the data folder in the "
        "record (a relative folder starts where `report` is called)."
        for why, number in sorted(reasons.items())
    ]
    rule = (
        f"Of the {len(common)} questions that every configuration answered, up to {EACH} that "
        f"{group.name} (highest mean accuracy; seed {run.record.seed}) answered right and up to "
        f"{EACH} that it answered wrong, drawn with the fixed random seed {SEED}, and up to {EACH} "
        "further wrong answers of the highest probability, all without repeated images. All "
        "configurations show the same questions, each with its lowest seed that has a prediction "
        "file. The samples are illustrations, not measurements."
    )
    return Samples(rule, group.name, right, wrong, sure, remarks)


def _draw(lines: Sequence[PredictionLine]) -> tuple[list[PredictionLine], ...]:
    """Draw up to `EACH` right, wrong and surely wrong answers, no image twice."""
    shuffled = list(lines)
    random.Random(SEED).shuffle(shuffled)
    shown: set[str] = set()
    right: list[PredictionLine] = []
    wrong: list[PredictionLine] = []
    for line in shuffled:
        chosen = right if line.correct else wrong
        if line.image not in shown and len(chosen) < EACH:
            shown.add(line.image)
            chosen.append(line)
    sure: list[PredictionLine] = []
    missed = [(line.log_likelihood, line) for line in lines if not line.correct]
    known = [(value, line) for value, line in missed if value is not None]
    for _, line in sorted(known, key=lambda one: -one[0]):  # stable
        if line.image not in shown and len(sure) < EACH:
            shown.add(line.image)
            sure.append(line)
    return right, wrong, sure
