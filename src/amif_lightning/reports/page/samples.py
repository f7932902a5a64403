"""Sample answers: a few right and a few wrong ones, drawn by a rule that the page states."""

from __future__ import annotations

import base64
import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amif_lightning.reports.groups import Group
from amif_lightning.reports.predictions import Prediction

#: Questions of each kind, and the longest side of their pictures in pixels.
EACH, SIDE = 4, 224


@dataclass(frozen=True)
class Given:
    """What one configuration answered.

    Attributes:
        name: The configuration.
        answer: Its answer.
        probability: The probability it gave it, 0 to 1; None where the method gives none.
        correct: Whether it counts as right.
        shuffled: Its answer with another picture; None where the control was not run.
    """

    name: str
    answer: str
    probability: float | None
    correct: bool
    shuffled: str | None


@dataclass(frozen=True)
class Sample:
    """A question with its picture and what every configuration answered.

    Attributes:
        question: The question.
        references: Answers that count as right.
        picture: A ``data:`` address; None where the picture is left out or not found.
        given: One entry for each configuration.
    """

    question: str
    references: tuple[str, ...]
    picture: str | None
    given: tuple[Given, ...]


@dataclass(frozen=True)
class Samples:
    """The samples of one section.

    Attributes:
        rule: How they were drawn, in a sentence.
        samples: Right ones first.
        missing: What is said where pictures are left out or not found; empty otherwise.
    """

    rule: str
    samples: tuple[Sample, ...]
    missing: str


def draw_samples(
    groups: Sequence[Group], images: Path | None = None, *, pictures: bool = True
) -> Samples | None:
    """Draw questions of one data set, protocol and split.

    Args:
        groups: Configurations that answered the same questions.
        images: Folder of the data set; None takes the one that the record names.
        pictures: False leaves all pictures out, for data that must not be shown.

    Returns:
        The samples; None where no configuration has its predictions.
    """
    usable = [group for group in groups if group.runs[0].predictions is not None]
    if not usable:
        return None
    leader = usable[0]
    lines = leader.runs[0].predictions or ()
    chosen = _drawn([line for line in lines if line.correct], EACH)
    chosen += _drawn([line for line in lines if not line.correct], EACH)
    tables = [
        (group.name, {line.question_id: line for line in group.runs[0].predictions or ()})
        for group in usable
    ]
    root = images or _root_of(leader.first.config)
    samples, lost = [], 0
    for line in chosen:
        picture = _picture(line, root) if pictures else None
        lost += pictures and picture is None
        given = [_given(name, table.get(line.question_id)) for name, table in tables]
        samples.append(
            Sample(
                line.question,
                line.references,
                picture,
                tuple(one for one in given if one is not None),
            )
        )
    seed = leader.first.seed
    rule = (
        f"Drawn at random with a fixed seed among the questions that {leader.name}, seed {seed}, "
        f"answered right ({sum(s.correct for s in chosen)}) and wrong "
        f"({sum(not s.correct for s in chosen)}); every configuration is shown with its first seed."
    )
    return Samples(rule, tuple(samples), _missing(lost, len(chosen), root, pictures=pictures))


def _drawn(lines: Sequence[Prediction], most: int) -> list[Prediction]:
    return random.Random(0).sample(list(lines), min(most, len(lines)))


def _given(name: str, line: Prediction | None) -> Given | None:
    if line is None:  # the configuration answered other questions
        return None
    probability = None if line.log_likelihood is None else math.exp(line.log_likelihood)
    return Given(name, line.prediction, probability, line.correct, line.control_prediction)


def _root_of(config: Any) -> Path | None:
    """The data set's folder in a record's configuration."""
    data = config.get("data") if isinstance(config, dict) else None
    arguments = data.get("init_args") if isinstance(data, dict) else None
    root = arguments.get("root") if isinstance(arguments, dict) else None
    return Path(root) if isinstance(root, str) else None


def _picture(line: Prediction, root: Path | None) -> str | None:
    """The picture as a ``data:`` address, None where it cannot be had."""
    from PIL import Image, ImageOps  # lazy: the tables need none of it

    if not line.image_file:
        return None
    path = Path(line.image_file)
    if not path.is_absolute():
        if root is None:
            return None
        path = root / path
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (SIDE, SIDE))
            small = ImageOps.exif_transpose(opened).convert("RGB")
            small.thumbnail((SIDE, SIDE))
    # What is no picture is left out and counted, whatever its reader says of it.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    written = io.BytesIO()
    small.save(written, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")


def _missing(lost: int, count: int, root: Path | None, *, pictures: bool) -> str:
    if not pictures:
        return "The pictures were left out on request."
    if not lost:
        return ""
    where = "no folder is known" if root is None else f"not found below {root}"
    return (
        f"{lost} of {count} pictures are not shown ({where}): give the data set's folder with "
        "--images, or test again where the records are from before picture files were stored."
    )
