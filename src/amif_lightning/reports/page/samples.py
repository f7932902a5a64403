"""Questions with their images and what every configuration of a data set answered."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amif_lightning.reports.analysis.groups import AnswerGroup, Run
from amif_lightning.reports.page.images import NoImage, data_root, data_uri
from amif_lightning.reports.records.answering import PredictionLine, reading_text

EACH = 4
SEED = 0
LEFT_OUT = "Images were left out of this page (--no-images)."


@dataclass(frozen=True)
class Answer:
    """What one configuration answered: its name, the run's seed, the line of predictions."""

    name: str
    seed: int
    line: PredictionLine

    @property
    def probability(self) -> str:
        """The answer's probability, empty where the method gives none."""
        if self.line.log_likelihood is None:
            return ""
        percent = 100 * math.exp(min(self.line.log_likelihood, 0.0))
        return "below 1 %" if percent < 1 else f"{percent:.0f} %"

    @property
    def read(self) -> str:
        """What the question read of the vocabulary, empty where nothing is read."""
        known = self.line.knowledge
        return reading_text(known.read, known.gate) if known else ""


@dataclass(frozen=True)
class ShownAnswer:
    """One question; ``image`` is a ``data:`` address, or None where none is shown."""

    line: PredictionLine
    image: str | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Samples:
    """The samples of one data set.

    Attributes:
        rule: How they were chosen, in words; empty where nothing could be chosen.
        lead: Name of the configuration whose answers were chosen among.
        right: Questions that it answered right.
        wrong: Questions that it answered wrong.
        remarks: What is missing, a sentence each.
    """

    rule: str = ""
    lead: str = ""
    right: tuple[ShownAnswer, ...] = ()
    wrong: tuple[ShownAnswer, ...] = ()
    remarks: tuple[str, ...] = ()


def samples(groups: Sequence[AnswerGroup], *, images: bool) -> Samples:
    """The same questions, drawn with a fixed seed, of all configurations of a section.

    Args:
        groups: Configurations that answered the same split under the same protocol.
        images: Whether to show images.
    """
    first = [(group, next((run for run in group.runs if run.lines), None)) for group in groups]
    found = [(group, run) for group, run in first if run is not None]
    remarks = [
        f"{group.name}: no prediction file is there, so its answers are not shown."
        for group, run in first
        if run is None
    ]
    if not found:
        return Samples(remarks=tuple(remarks))
    answered = [{line.question_id: line for line in run.lines or ()} for _, run in found]
    common = sorted(set.intersection(*map(set, answered)))
    if not common:
        remarks.append("The configurations answered no question in common, so none is shown.")
        return Samples(remarks=tuple(remarks))
    # Of equals the first.
    lead = max(range(len(found)), key=lambda place: found[place][0].mean())
    group, run = found[lead]
    right, wrong = _draw([answered[lead][question] for question in common])
    root = data_root(run.record.config) if images else None
    reasons: Counter[str] = Counter()

    def shown(line: PredictionLine) -> ShownAnswer:
        answers = tuple(
            Answer(theirs.name, run.record.seed, lines[line.question_id])
            for (theirs, run), lines in zip(found, answered, strict=True)
        )
        image = None
        try:
            # Lines without the path are older; in most data sets the identity is the path.
            image = data_uri(root, line.image_file or line.image) if root else None
        except NoImage as why:
            reasons[str(why)] += 1
        return ShownAnswer(line, image, answers)

    drawn = tuple(map(shown, right)), tuple(map(shown, wrong))
    remarks += _image_remarks(images, root, reasons, len(right) + len(wrong))
    return Samples(_rule(group, run, len(common)), group.name, *drawn, tuple(remarks))


def _draw(lines: Sequence[PredictionLine]) -> tuple[list[PredictionLine], list[PredictionLine]]:
    """Up to `EACH` right and wrong answers, no image twice."""
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
    return right, wrong


def _rule(lead: AnswerGroup, run: Run, count: int) -> str:
    return (
        f"Of the {count} questions that every configuration answered, up to {EACH} that "
        f"{lead.name} (the highest mean accuracy; seed {run.record.seed}) answered right and up to "
        f"{EACH} that it answered wrong, drawn with the fixed random seed {SEED}, no image "
        "twice. They are the same for all configurations, each shown with its lowest seed that "
        "has a prediction file. They illustrate; they measure nothing."
    )


def _image_remarks(images: bool, root: Path | None, reasons: Counter[str], count: int) -> list[str]:
    if not images:
        return [LEFT_OUT]
    if root is None:
        return ["The records name no single data folder, so no image is shown."]
    return [
        f"{number} of {count} images are not shown: {why} below {root}, the data folder that "
        "the record names (a relative one starts where the report was called)."
        for why, number in sorted(reasons.items())
    ]
